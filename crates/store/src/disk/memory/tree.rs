//! The name space and everything in it: a whole disk's state, without its errors.
//!
//! Every change of the state is an [`Op`], applied in one place, so that a recorded list of them can be
//! played again on a copy. Directory entries have a journal: an entry is durable only after its directory
//! was synced; before, a power cut keeps some of the changes, those of one name in their order.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Component, Path},
    sync::Arc,
};

use super::{choose::Choose, content::Content};

/// Number of a file or directory; never used again.
pub(super) type Ino = u64;
pub(super) const ROOT: Ino = 1;

/// One entry of one directory gets a new meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    dir: Ino,
    name: String,
    to: Option<Ino>,
}

/// One change of the disk.
#[derive(Debug, Clone)]
pub enum Op {
    /// A file or directory is made and named.
    Make {
        /// Its number.
        ino: u64,
        /// What it is.
        is_dir: bool,
        /// Bytes of a file from its first moment on, all zeros.
        len: u64,
        /// Its entry.
        entry: Effect,
    },
    /// Entries change together: a rename or a removal.
    Link(Vec<Effect>),
    /// Bytes are written.
    Write {
        /// The file's number.
        ino: u64,
        /// Where.
        at: u64,
        /// What.
        bytes: Arc<[u8]>,
    },
    /// The length changes.
    SetLen {
        /// The file's number.
        ino: u64,
        /// To so many bytes.
        len: u64,
    },
    /// Blocks are reserved.
    Allocate {
        /// The file's number.
        ino: u64,
        /// From here.
        at: u64,
        /// So many bytes.
        len: u64,
    },
    /// A file's data and length become durable.
    Sync {
        /// The file's number.
        ino: u64,
    },
    /// A sync failed and the pages count as clean from now on.
    SyncFailed {
        /// The file's number.
        ino: u64,
    },
    /// A directory's entries become durable.
    SyncDir {
        /// The directory's number.
        ino: u64,
    },
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    Dir { cached: BTreeMap<String, Ino>, durable: BTreeMap<String, Ino> },
    File(Content),
}

impl Node {
    fn new(is_dir: bool) -> Node {
        match is_dir {
            true => Node::Dir { cached: BTreeMap::new(), durable: BTreeMap::new() },
            false => Node::File(Content::default()),
        }
    }
}

/// All files, cached and durable.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    nodes: BTreeMap<Ino, Node>,
    next: Ino,
    /// Changes of entries that no directory sync has covered, oldest first.
    journal: Vec<Vec<Effect>>,
}

impl Tree {
    pub(super) fn new() -> Tree {
        Tree { nodes: BTreeMap::from([(ROOT, Node::new(true))]), next: ROOT + 1, journal: Vec::new() }
    }

    pub(super) fn next_ino(&self) -> Ino {
        self.next
    }

    pub(super) fn file(&self, ino: Ino) -> io::Result<&Content> {
        match self.nodes.get(&ino) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Dir { .. }) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn file_mut(&mut self, ino: Ino) -> Option<&mut Content> {
        match self.nodes.get_mut(&ino) {
            Some(Node::File(content)) => Some(content),
            _ => None,
        }
    }

    pub(super) fn entries(&self, dir: Ino) -> io::Result<&BTreeMap<String, Ino>> {
        match self.nodes.get(&dir) {
            Some(Node::Dir { cached, .. }) => Ok(cached),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn is_dir(&self, ino: Ino) -> bool {
        matches!(self.nodes.get(&ino), Some(Node::Dir { .. }))
    }

    /// What a path names. Absolute and relative paths begin at the same root.
    pub(super) fn find(&self, path: &Path) -> io::Result<Ino> {
        let mut at = ROOT;
        for name in names(path)? {
            at = *self.entries(at)?.get(name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    /// The directory a path's last name is in, and that name.
    pub(super) fn parent<'p>(&self, path: &'p Path) -> io::Result<(Ino, &'p str)> {
        let mut all = names(path)?;
        let last = all.pop().ok_or(io::ErrorKind::InvalidInput)?;
        let mut at = ROOT;
        for name in all {
            at = *self.entries(at)?.get(name).ok_or(io::ErrorKind::NotFound)?;
        }
        self.entries(at)?;
        Ok((at, last))
    }

    /// The op that makes an empty file or a directory.
    pub(super) fn making(&self, path: &Path, is_dir: bool) -> io::Result<Op> {
        self.making_long(path, is_dir, 0)
    }

    /// The op that makes a file of so many bytes.
    pub(super) fn making_long(&self, path: &Path, is_dir: bool, len: u64) -> io::Result<Op> {
        let (dir, name) = self.parent(path)?;
        let ino = self.next;
        Ok(Op::Make { ino, is_dir, len, entry: Effect { dir, name: name.to_owned(), to: Some(ino) } })
    }

    /// The op that renames.
    pub(super) fn renaming(&self, from: &Path, to: &Path) -> io::Result<Op> {
        let ino = self.find(from)?;
        let (from_dir, from_name) = self.parent(from)?;
        let (to_dir, to_name) = self.parent(to)?;
        if let Some(there) = self.entries(to_dir)?.get(to_name) {
            match (self.is_dir(ino), self.is_dir(*there)) {
                (false, false) => {}
                (true, true) if self.entries(*there)?.is_empty() => {}
                (true, true) => return Err(io::ErrorKind::DirectoryNotEmpty.into()),
                (true, false) => return Err(io::ErrorKind::NotADirectory.into()),
                (false, true) => return Err(io::ErrorKind::IsADirectory.into()),
            }
        }
        Ok(Op::Link(vec![
            Effect { dir: from_dir, name: from_name.to_owned(), to: None },
            Effect { dir: to_dir, name: to_name.to_owned(), to: Some(ino) },
        ]))
    }

    /// The op that removes a file or an empty directory.
    pub(super) fn removing(&self, path: &Path, is_dir: bool) -> io::Result<Op> {
        let ino = self.find(path)?;
        match (is_dir, self.is_dir(ino)) {
            (true, true) if !self.entries(ino)?.is_empty() => {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            (true, false) => return Err(io::ErrorKind::NotADirectory.into()),
            (false, true) => return Err(io::ErrorKind::IsADirectory.into()),
            _ => {}
        }
        let (dir, name) = self.parent(path)?;
        Ok(Op::Link(vec![Effect { dir, name: name.to_owned(), to: None }]))
    }

    /// Performs a change.
    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::Make { ino, is_dir, len, entry } => {
                self.nodes.insert(*ino, Node::new(*is_dir));
                self.with(*ino, |file| {
                    file.set_len(*len);
                    // Wherever its name is, its length is.
                    file.sync();
                });
                self.next = self.next.max(ino + 1);
                self.link(std::slice::from_ref(entry));
            }
            Op::Link(effects) => self.link(effects),
            Op::Write { ino, at, bytes } => self.with(*ino, |file| file.write(bytes, *at)),
            Op::SetLen { ino, len } => self.with(*ino, |file| file.set_len(*len)),
            Op::Allocate { ino, at, len } => self.with(*ino, |file| file.allocate(*at, *len)),
            Op::Sync { ino } => self.with(*ino, Content::sync),
            Op::SyncFailed { ino } => self.with(*ino, Content::sync_failed),
            Op::SyncDir { ino } => self.sync_dir(*ino),
        }
    }

    fn with(&mut self, ino: Ino, change: impl FnOnce(&mut Content)) {
        if let Some(file) = self.file_mut(ino) {
            change(file);
        }
    }

    fn link(&mut self, effects: &[Effect]) {
        for effect in effects {
            if let Some(Node::Dir { cached, .. }) = self.nodes.get_mut(&effect.dir) {
                set(cached, effect);
            }
        }
        self.journal.push(effects.to_vec());
    }

    /// Changes of this directory become durable, and before them those that came earlier to the same names
    /// elsewhere: a rename is durable in both directories or in none.
    fn sync_dir(&mut self, dir: Ino) {
        let mut names: BTreeSet<(Ino, String)> = BTreeSet::new();
        let mut kept = Vec::new();
        let mut durable = Vec::new();
        for change in std::mem::take(&mut self.journal).into_iter().rev() {
            let needed = change.iter().any(|e| e.dir == dir || names.contains(&(e.dir, e.name.clone())));
            if needed {
                names.extend(change.iter().map(|e| (e.dir, e.name.clone())));
                durable.push(change);
            } else {
                kept.push(change);
            }
        }
        kept.reverse();
        self.journal = kept;
        for change in durable.iter().rev() {
            self.make_durable(change);
        }
    }

    fn make_durable(&mut self, change: &[Effect]) {
        for effect in change {
            if let Some(Node::Dir { durable, .. }) = self.nodes.get_mut(&effect.dir) {
                set(durable, effect);
            }
        }
    }

    /// The disk after a power cut.
    pub(super) fn after_cut(&self, choose: &mut dyn Choose) -> Tree {
        let mut tree = self.clone();
        let mut lost: BTreeSet<(Ino, &str)> = BTreeSet::new();
        tree.journal.clear();
        for change in &self.journal {
            let follows_lost = change.iter().any(|e| lost.contains(&(e.dir, e.name.as_str())));
            if !follows_lost && choose.pick(2) == 1 {
                tree.make_durable(change);
            } else {
                lost.extend(change.iter().map(|e| (e.dir, e.name.as_str())));
            }
        }
        let alive = tree.reach([ROOT], |node| match node {
            Node::Dir { durable, .. } => durable.values().copied().collect(),
            Node::File(_) => Vec::new(),
        });
        tree.nodes.retain(|ino, _| alive.contains(ino));
        for node in tree.nodes.values_mut() {
            match node {
                Node::Dir { cached, durable } => *cached = durable.clone(),
                Node::File(content) => *content = content.after_cut(choose),
            }
        }
        tree
    }

    fn reach(
        &self,
        from: impl IntoIterator<Item = Ino>,
        children: impl Fn(&Node) -> Vec<Ino>,
    ) -> BTreeSet<Ino> {
        let mut alive = BTreeSet::new();
        let mut todo: Vec<Ino> = from.into_iter().collect();
        while let Some(ino) = todo.pop() {
            if alive.insert(ino)
                && let Some(node) = self.nodes.get(&ino)
            {
                todo.extend(children(node));
            }
        }
        alive
    }

    /// Forgets files that no name, no unsynced change and no open handle leads to.
    pub(super) fn collect(&mut self, open: impl IntoIterator<Item = Ino>) {
        let pending = self.journal.iter().flatten().filter_map(|effect| effect.to);
        let roots: Vec<Ino> = [ROOT].into_iter().chain(pending).chain(open).collect();
        let alive = self.reach(roots, |node| match node {
            Node::Dir { cached, durable } => cached.values().chain(durable.values()).copied().collect(),
            Node::File(_) => Vec::new(),
        });
        self.nodes.retain(|ino, _| alive.contains(ino));
    }

    /// Pages taken by files that have a name, or that someone holds open.
    pub(super) fn pages(&self, open: impl IntoIterator<Item = Ino>) -> u64 {
        let roots: Vec<Ino> = [ROOT].into_iter().chain(open).collect();
        let alive = self.reach(roots, |node| match node {
            Node::Dir { cached, .. } => cached.values().copied().collect(),
            Node::File(_) => Vec::new(),
        });
        alive.iter().filter_map(|ino| self.file(*ino).ok()).map(Content::pages).sum()
    }
}

fn set(entries: &mut BTreeMap<String, Ino>, effect: &Effect) {
    match effect.to {
        Some(ino) => drop(entries.insert(effect.name.clone(), ino)),
        None => drop(entries.remove(&effect.name)),
    }
}

fn names(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(name.to_str().ok_or(io::ErrorKind::InvalidInput)?),
            Component::ParentDir | Component::Prefix(_) => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    Ok(names)
}
