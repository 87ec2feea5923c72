//! `storage.k8s.io`: where volumes come from and where they are.

mod csidriver;
mod csinode;
mod csistoragecapacity;
mod rules;
mod storageclass;
mod volumeattachment;
mod volumeattributesclass;

/// All kinds of the group.
pub fn kinds() -> Vec<schema::Kind> {
    vec![
        csidriver::kind(),
        csinode::kind(),
        csistoragecapacity::kind(),
        storageclass::kind(),
        volumeattachment::kind(),
        volumeattributesclass::kind(),
    ]
}
