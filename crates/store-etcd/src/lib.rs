//! The store on a real etcd.

pub mod proto;
