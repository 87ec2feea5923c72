//! Controllers of volumes and claims: today only that nothing goes while it is in use.
//!
//! Binding, provisioning, attaching and growing will be files beside it. Invariants: a finalizer is taken away only by its own
//! controller and only where nothing refers to the object; nothing here touches a disk.

pub mod protection;
