//! Volumes of a pod: a pure plan of what must be there, the contents of projected files, and an executor.
//!
//! [`plan`] turns a pod's `spec.volumes` into [`Planned`] volumes; [`content`] turns objects that were fetched into files;
//! [`Mounter`] makes directories, mounts and files on the node, changes them when the objects change, and takes everything
//! away again. Files of ConfigMaps, Secrets and projections are switched atomically through a `..data` link.
//!
//! Invariants: planning does no I/O; nothing outside the pod's own directory is ever deleted; a sub-path never leaves its
//! volume, whatever links a container put there.

mod atomic;
mod content;
mod downward;
mod mount;
mod plan;
mod subpath;

pub use atomic::{File, Files};
pub use content::{Data, Error, Objects, content};
pub use downward::{Facts, field, resource};
pub use mount::{MountError, Mounter, Ownership};
pub use plan::{HostPathKind, Kind, Needs, Planned, needs, ownership, plan};
