//! What changes the table: registration, its end, permissions, deletion.

use super::*;

impl Routes {
    /// Takes a broker's registration. With nothing new in it this costs three look-ups.
    pub fn register(&mut self, now: Millis, new: Registration) -> Result<Registered, Refusal> {
        self.check_epoch(&new)?;
        if self.is_stale(&new) && !mutant!(StaleRegistration) {
            return Ok(Registered { stale: true, master: self.master_for(&new), ..Registered::default() });
        }
        let takes_topics = self.wants_topics(new.broker.as_str(), new.id, new.address.as_str(), new.version);
        self.check_room(&new, takes_topics)?;
        if let Some(epoch) = new.epoch {
            self.fences.insert(new.broker.clone(), Fence { epoch, seen: now });
        }
        let mut alarms = Vec::new();
        let moved = self.seat(&new, &mut alarms);
        let changed = self.note(now, &new) | moved;
        let changed = (takes_topics && self.take_topics(&new.broker, &new.topics)) | changed;
        if changed {
            self.edition += 1;
        }
        Ok(Registered { changed, stale: false, master: self.master_for(&new), alarms })
    }

    /// A lower epoch is refused; so is a master that cannot show a newer epoch than the one in place.
    fn check_epoch(&self, new: &Registration) -> Result<(), Refusal> {
        if new.id < 0 {
            return Err(Refusal::BadId(new.id));
        }
        if let (Some(sent), Some(fence)) = (new.epoch, self.fences.get(&new.broker))
            && sent < fence.epoch
        {
            return Err(Refusal::OldEpoch { sent, known: fence.epoch });
        }
        let master = self.groups.get(&new.broker).and_then(|group| group.members.get(&MASTER));
        let Some(master) = master.filter(|master| new.id == MASTER && **master != new.address) else {
            return Ok(());
        };
        match self.addresses.get(master).and_then(|member| member.epoch) {
            Some(epoch) if new.epoch.is_none_or(|sent| sent <= epoch) => {
                Err(Refusal::MasterInPlace { master: master.clone(), epoch })
            }
            _ => Ok(()),
        }
    }

    /// Whether a newer connection has said as much or more about this very member.
    fn is_stale(&self, new: &Registration) -> bool {
        self.addresses.get(&new.address).is_some_and(|known| {
            known.conn > new.conn && known.version >= new.version && known.epoch >= new.epoch
        })
    }

    fn check_room(&self, new: &Registration, takes_topics: bool) -> Result<(), Refusal> {
        let Limits { members, topics, queue_datas } = self.limits;
        let known = self.addresses.contains_key(&new.address);
        if !known && self.addresses.len() >= members {
            return Err(Refusal::Full { what: "brokers", max: members });
        }
        // A fence outlives its group; without a limit, ever new names would fill the memory.
        if new.epoch.is_some() && !self.fences.contains_key(&new.broker) && self.fences.len() >= members {
            return Err(Refusal::Full { what: "broker groups with an epoch", max: members });
        }
        if !takes_topics {
            return Ok(());
        }
        let group = self.groups.get(&new.broker);
        let names: BTreeSet<&Name> = new.topics.iter().map(|(name, _)| name).collect();
        let unserved = names.iter().filter(|name| group.is_none_or(|group| !group.topics.contains(**name)));
        let unserved: Vec<_> = unserved.collect();
        let unknown = unserved.iter().filter(|name| !self.topics.contains_key(***name)).count();
        if self.topics.len() + unknown > topics {
            return Err(Refusal::Full { what: "topics", max: topics });
        }
        if self.queue_datas + unserved.len() > queue_datas {
            return Err(Refusal::Full { what: "queue datas", max: queue_datas });
        }
        Ok(())
    }

    /// Gives the member its place in its group, and takes it from whoever had it. Returns whether anything moved.
    fn seat(&mut self, new: &Registration, alarms: &mut Vec<Alarm>) -> bool {
        let mut moved = self.leave_old_place(new, alarms);
        if let Some(twin) = self.evicted_by(new) {
            let epoch = self.addresses.get(&twin).and_then(|member| member.epoch);
            // A newer epoch is a change of leadership, not a mistake in a configuration.
            if new.epoch <= epoch {
                let (broker, id) = (new.broker.clone(), new.id);
                alarms.push(Alarm::Twins { broker, id, old: twin.clone(), new: new.address.clone() });
            }
            self.forget_address(&twin);
        }
        let group = self.groups.entry(new.broker.clone()).or_insert_with(|| {
            let (members, topics) = (BTreeMap::new(), BTreeSet::new());
            Group { cluster: new.cluster.clone(), members, topics }
        });
        if group.cluster != new.cluster {
            if group.members.values().any(|address| *address != new.address) {
                let (old, new_cluster) = (group.cluster.clone(), new.cluster.clone());
                alarms.push(Alarm::OtherCluster { broker: new.broker.clone(), old, new: new_cluster });
            }
            group.cluster = new.cluster.clone();
            moved = true;
        }
        let before = group.members.insert(new.id, new.address.clone());
        moved | (before.as_ref() != Some(&new.address))
    }

    /// The other address that has the member's place.
    fn evicted_by(&self, new: &Registration) -> Option<Address> {
        let holder = self.groups.get(&new.broker)?.members.get(&new.id)?;
        (*holder != new.address).then(|| holder.clone())
    }

    /// A known address that comes as another member leaves its old place: a change of role within its group,
    /// or a change of group.
    fn leave_old_place(&mut self, new: &Registration, alarms: &mut Vec<Alarm>) -> bool {
        let Some(known) = self.addresses.get(&new.address) else { return false };
        if known.broker == new.broker {
            if known.id == new.id {
                return false;
            }
            // The group keeps its topics even if this was its only member: it will have one again at once.
            let id = known.id;
            if let Some(group) = self.groups.get_mut(&new.broker) {
                group.members.remove(&id);
            }
            return true;
        }
        let old = known.broker.clone();
        alarms.push(Alarm::OtherGroup { address: new.address.clone(), old, new: new.broker.clone() });
        self.drop_member(new.address.as_str());
        true
    }

    /// Writes down what the registration says about the member itself. Returns whether a route shows the change.
    fn note(&mut self, now: Millis, new: &Registration) -> bool {
        let before = self.addresses.insert(
            new.address.clone(),
            Member {
                broker: new.broker.clone(),
                id: new.id,
                conn: new.conn,
                seen: now,
                version: new.version,
                ha_address: new.ha_address.clone(),
                epoch: new.epoch,
                filters: new.filters.clone(),
            },
        );
        let old_conn = before.as_ref().map(|member| member.conn);
        if old_conn != Some(new.conn) {
            if let Some(old_conn) = old_conn.filter(|_| !mutant!(OldCloseDrops)) {
                self.disconnect(old_conn, &new.address);
            }
            self.connections.entry(new.conn).or_default().insert(new.address.clone());
        }
        before.is_none_or(|member| member.filters != new.filters)
    }

    /// Adds and replaces topics of a group; those it does not name stay, as in the original.
    fn take_topics(&mut self, broker: &Name, topics: &[(Name, Queues)]) -> bool {
        let Some(group) = self.groups.get_mut(broker) else { return false };
        let mut changed = false;
        if mutant!(RouteShrinks) {
            let before = std::mem::take(&mut group.topics);
            before.iter().for_each(|topic| self.drop_queues(topic, broker));
        }
        let Some(group) = self.groups.get_mut(broker) else { return false };
        for (name, queues) in topics {
            let before = self.topics.entry(name.clone()).or_default().queues.insert(broker.clone(), *queues);
            self.queue_datas += usize::from(before.is_none());
            changed |= before != Some(*queues);
            group.topics.insert(name.clone());
        }
        changed
    }

    fn master_for(&self, new: &Registration) -> Option<(Address, Option<Address>)> {
        if new.id == MASTER {
            return None;
        }
        let master = self.groups.get(&new.broker)?.members.get(&MASTER)?;
        let ha_address = self.addresses.get(master).and_then(|member| member.ha_address.clone());
        Some((master.clone(), ha_address))
    }

    /// Whether a broker's version differs from the known one; a broker that asks with the same one lives.
    pub fn query_version(&mut self, now: Millis, conn: ConnId, address: &str, version: Version) -> bool {
        match self.addresses.get_mut(address) {
            Some(member) if member.version == version => {
                if conn >= member.conn {
                    member.seen = now;
                }
                false
            }
            _ => true,
        }
    }

    /// A broker says good-bye. Nothing happens when a newer connection has registered it meanwhile.
    pub fn unregister(&mut self, conn: ConnId, broker: &str, id: i64, address: &str) -> bool {
        let member = self.addresses.get(address);
        let is_meant = member.is_some_and(|m| {
            m.broker.as_str() == broker && m.id == id && (m.conn <= conn || mutant!(StaleUnregister))
        });
        is_meant && self.drop_member(address).is_some()
    }

    /// A connection is gone, and with it the brokers that registered over it last.
    pub fn closed(&mut self, conn: ConnId) -> Vec<Dropped> {
        let addresses = self.connections.get(&conn).cloned().unwrap_or_default();
        addresses.iter().filter_map(|address| self.drop_member(address.as_str())).collect()
    }

    /// Drops brokers that were silent for longer than [`SILENCE_MAX`].
    pub fn expire(&mut self, now: Millis) -> Vec<Dropped> {
        let silent = |member: &Member| now - member.seen > SILENCE_MAX;
        let gone: Vec<Address> =
            self.addresses.iter().filter(|(_, member)| silent(member)).map(|(a, _)| a.clone()).collect();
        let groups = &self.groups;
        self.fences.retain(|broker, fence| groups.contains_key(broker) || now - fence.seen <= FENCE_KEPT);
        gone.iter().filter_map(|address| self.drop_member(address.as_str())).collect()
    }

    /// Removes a member, its group if it was the last one, and then the group's part of every topic.
    fn drop_member(&mut self, address: &str) -> Option<Dropped> {
        let (address, member) = self.addresses.remove_entry(address)?;
        self.disconnect(member.conn, &address);
        self.edition += 1;
        let (broker, id, conn) = (member.broker, member.id, member.conn);
        if let Some(group) = self.groups.get_mut(&broker) {
            if group.members.get(&id) == Some(&address) {
                group.members.remove(&id);
            }
            if group.members.is_empty() {
                self.drop_group(&broker);
            }
        }
        Some(Dropped { address, broker, id, conn })
    }

    fn drop_group(&mut self, broker: &Name) {
        let topics = self.groups.remove(broker).map(|group| group.topics).unwrap_or_default();
        for topic in &topics {
            self.drop_queues(topic, broker);
        }
    }

    /// Removes a group's part of a topic, and the topic if that was all.
    fn drop_queues(&mut self, topic: &Name, broker: &Name) {
        let Some(known) = self.topics.get_mut(topic) else { return };
        self.queue_datas -= usize::from(known.queues.remove(broker).is_some());
        if known.queues.is_empty() {
            self.topics.remove(topic);
        }
    }

    /// Forgets a member whose place another one takes; the group lives on.
    fn forget_address(&mut self, address: &Address) {
        if let Some(member) = self.addresses.remove(address) {
            self.disconnect(member.conn, address);
        }
    }

    fn disconnect(&mut self, conn: ConnId, address: &Address) {
        if let Some(addresses) = self.connections.get_mut(&conn) {
            addresses.remove(address);
            if addresses.is_empty() {
                self.connections.remove(&conn);
            }
        }
    }

    /// Takes the write permission from all queues of a group. Returns of how many topics. Lasts until the group
    /// registers with another version.
    pub fn wipe_write(&mut self, broker: &str) -> usize {
        self.set_perms(broker, |perm| perm & !PERM_WRITE)
    }

    /// Gives all queues of a group read and write permission, and nothing else: a template stops being one
    /// here, as in the original. Returns of how many topics.
    pub fn add_write(&mut self, broker: &str) -> usize {
        self.set_perms(broker, |_| PERM_READ_WRITE)
    }

    fn set_perms(&mut self, broker: &str, change: impl Fn(i32) -> i32) -> usize {
        self.edition += 1;
        let Some(group) = self.groups.get(broker) else { return 0 };
        let mut count = 0;
        for name in &group.topics {
            if let Some(queues) = self.topics.get_mut(name).and_then(|topic| topic.queues.get_mut(broker)) {
                queues.perm = change(queues.perm);
                count += 1;
            }
        }
        count
    }

    /// Removes a topic, everywhere or in one cluster. Returns whether it was there.
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) -> bool {
        let Some((topic, known)) = self.topics.get_key_value(topic) else { return false };
        let meant = |broker: &Name| {
            let group = self.groups.get(broker);
            cluster.is_none_or(|cluster| group.is_some_and(|group| group.cluster.as_str() == cluster))
        };
        let (topic, brokers) =
            (topic.clone(), known.queues.keys().filter(|b| meant(b)).cloned().collect::<Vec<_>>());
        for broker in &brokers {
            self.drop_queues(&topic, broker);
            if let Some(group) = self.groups.get_mut(broker) {
                group.topics.remove(&topic);
            }
        }
        self.edition += 1;
        !brokers.is_empty()
    }

    /// Adds queues of one topic to groups that live, without a registration. Returns how many groups took it.
    pub fn add_topic(&mut self, topic: &Name, parts: &[(Name, Queues)]) -> Result<usize, Refusal> {
        let Limits { topics, queue_datas, .. } = self.limits;
        let parts: Vec<_> = parts.iter().filter(|(broker, _)| self.groups.contains_key(broker)).collect();
        if !self.topics.contains_key(topic) && self.topics.len() >= topics {
            return Err(Refusal::Full { what: "topics", max: topics });
        }
        if self.queue_datas + parts.len() > queue_datas {
            return Err(Refusal::Full { what: "queue datas", max: queue_datas });
        }
        for (broker, queues) in &parts {
            self.take_topics(broker, &[(topic.clone(), *queues)]);
        }
        self.edition += 1;
        Ok(parts.len())
    }
}
