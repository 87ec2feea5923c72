//! What a kind does that data cannot say. All hooks are optional and pure: they see the object, the old one, the time
//! and a read-only view; they do no I/O and cannot wait.

use crate::Features;
use base::{FieldErrors, Result, User, time::Timestamp};
use std::{fmt::Debug, net::IpAddr, sync::Arc};
use value::{Object, Str, Value};

/// What surrounds a call of a hook.
pub struct Context<'a> {
    pub now: Timestamp,
    pub user: &'a User,
    pub operation: Operation,
    /// `None` for the main resource.
    pub subresource: Option<&'a str>,
    /// The version that was asked for; the object is in the stored one.
    pub version: &'a str,
    pub cluster: &'a ClusterConfig,
    /// Other objects of the same cluster, as the caches hold them.
    pub view: &'a dyn View,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// Facts about the cluster that hooks need.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterConfig {
    /// `cluster.local`
    pub domain: String,
    /// Address and prefix length of the Service network.
    pub service_cidr: (IpAddr, u8),
    /// First and last node port.
    pub node_ports: (u16, u16),
    pub features: Features,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        ClusterConfig {
            domain: "cluster.local".into(),
            service_cidr: (IpAddr::from([10, 96, 0, 0]), 16),
            node_ports: (30000, 32767),
            features: Features::default(),
        }
    }
}

/// Read access to the caches of the engine.
pub trait View: Send + Sync {
    /// One object by group, plural, namespace (`""` for cluster scope) and name.
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Object>>;
    /// All objects of a kind, of one namespace where given.
    fn list(&self, group: &str, plural: &str, namespace: Option<&str>) -> Vec<Arc<Object>>;
    /// Those with a value in an indexed field ([`crate::SelectableField`]); `None` where no index has it, and a walk
    /// through a list is left.
    fn indexed(
        &self,
        _group: &str,
        _plural: &str,
        _namespace: Option<&str>,
        _field: &str,
        _value: &str,
    ) -> Option<Vec<Arc<Object>>> {
        None
    }
}

/// Something an object holds alone: an address, a port. Claims are committed in the same transaction as the object, so
/// that two objects never hold the same one, and are given back in the transaction that removes the object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim(pub Str);

/// What may still be claimed.
pub trait Pool: Send + Sync {
    fn taken(&self, claim: &Claim) -> bool;
}

/// The annotation by which the server keeps up an object that it suggested, or no longer (KEP-1040).
pub const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// An object that every cluster has from its first second. The server writes it when it starts, and fills in
/// `apiVersion` and `kind`.
#[derive(Debug, Clone, PartialEq)]
pub struct Initial {
    pub object: Value,
    pub keep: Keep,
}

/// What becomes of an initial object that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Whatever it says, it stays.
    Once,
    /// Its spec follows this server's while [`AUTO_UPDATE`] says so, or was never said and nobody changed the spec.
    Suggested,
    /// Its spec is as the server says.
    Mandatory,
}

/// The result of [`Hooks::act`].
#[derive(Debug)]
pub enum ActOutcome {
    /// The object was changed: commit it and answer with this body (`None`: the object itself).
    Commit(Option<Value>),
    /// Delete the object (eviction), and answer with `Success`.
    Delete(Deletion),
}

/// A deletion that an action amounts to.
#[derive(Debug)]
pub struct Deletion {
    /// DeleteOptions; a dry run in them counts.
    pub options: Value,
    /// Only while the object is as the hook saw it; if not, the hook is asked again.
    pub pinned: bool,
    /// What is written before, in this order. Where a replaced object was changed since, the hook is asked again.
    pub first: Vec<Write>,
}

/// A write to an object of the same namespace, through all that every write goes through but authorization.
#[derive(Debug)]
pub struct Write {
    pub group: &'static str,
    pub plural: &'static str,
    pub name: Str,
    pub subresource: &'static str,
    /// The whole object with the revision that it was read at, or a strategic merge patch.
    pub object: Value,
    pub patch: bool,
}

/// The hooks of one kind.
pub trait Hooks: Send + Sync + Debug {
    /// Brings what upstream's API server has stored into a version that is known here, where it keeps another one. Called
    /// when such an object is read from the store.
    fn receive(&self, _obj: &mut Value) {}

    /// Defaults that depend on other fields; runs after the schema's own.
    fn default(&self, _obj: &mut Value) {}
    /// Resets what clients may not set at creation and fills what the server sets. Status is already gone where
    /// [`crate::Policy::status_apart`] says so.
    fn prepare_create(&self, _cx: &Context, _obj: &mut Value) {}
    /// The same for an update. Status (or, on a subresource, everything but its fields) is already taken from `old`.
    fn prepare_update(&self, _cx: &Context, _obj: &mut Value, _old: &Value) {}
    /// Sets claims that the object lacks (cluster IP, node port), by looking for free ones in the pool.
    fn allocate(&self, _cx: &Context, _obj: &mut Value, _old: Option<&Value>, _pool: &dyn Pool) -> Result<()> {
        Ok(())
    }
    /// True where `allocate` picks what somebody else may pick at the same time; a creation that loses is tried again.
    fn allocates(&self) -> bool {
        false
    }
    /// What the object holds alone.
    fn claims(&self, _obj: &Value) -> Vec<Claim> {
        Vec::new()
    }
    /// Says what is wrong, beyond types and required fields, with upstream's paths and wording. `old` is given on updates.
    fn validate(&self, _cx: &Context, _obj: &Value, _old: Option<&Value>, _errors: &mut FieldErrors) {}
    /// Warnings that go with a successful write.
    fn warnings(&self, _cx: &Context, _obj: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }
    /// The grace period of a deletion in seconds, for kinds with [`crate::Policy::graceful`]; 0 deletes at once.
    fn grace(&self, _obj: &Value, requested: Option<i64>) -> i64 {
        requested.unwrap_or(0).max(0)
    }
    /// A namespace-like kind keeps an object until this says that it may go (finalizers beside `metadata.finalizers`).
    fn may_be_removed(&self, _obj: &Value) -> bool {
        true
    }
    /// Changes the object when its deletion begins (a namespace's phase).
    fn begin_deletion(&self, _cx: &Context, _obj: &mut Value) {}
    /// A body posted to a subresource of action [`crate::SubresourceAction::Act`].
    fn act(&self, cx: &Context, _body: &Value, _obj: &mut Value) -> Result<ActOutcome> {
        let _ = cx;
        Err(base::Status::method_not_allowed())
    }
    /// The kind that this object defines, for kinds with [`crate::Policy::defines_kinds`]; `None` while it may not be
    /// served.
    fn defines(&self, _obj: &Value) -> Option<crate::Kind> {
        None
    }
    /// Objects of this kind that every cluster has.
    fn initial(&self, _cluster: &ClusterConfig) -> Vec<Initial> {
        Vec::new()
    }
    /// Converts between two versions of the kind, in place; `apiVersion` is set by the caller.
    fn convert(&self, _obj: &mut Value, _from: &str, _to: &str) -> Result<()> {
        Ok(())
    }
}

/// A kind whose data says everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHooks;
impl Hooks for NoHooks {}
