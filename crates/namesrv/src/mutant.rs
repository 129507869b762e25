//! Bugs that can be planted in the name server, to prove that tests find them.

kerolox_planted::bugs! {
    /// A good-bye that comes over an old connection takes the newer registration away.
    StaleUnregister,
    /// The end of an old connection takes the newer registration away.
    OldCloseDrops,
    /// A registration from an old connection overwrites the newer one.
    StaleRegistration,
    /// A registration that names fewer topics shrinks the route.
    RouteShrinks,
}
