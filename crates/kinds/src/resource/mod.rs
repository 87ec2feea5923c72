//! `resource.k8s.io`: devices that pods ask for (KEP-4381). A ResourceSlice says which devices there are, a DeviceClass
//! names a sort of them, a ResourceClaim asks for some and says which it got.
//!
//! What stands in several kinds has its own module: [`parts`] names and parameters, [`claim`] what a claim and its
//! template ask for, [`device`] and [`capacity`] a device of a slice, [`status`] what a claim got.

mod capacity;
mod claim;
mod device;
mod deviceclass;
mod parts;
mod resourceclaim;
mod resourceclaimtemplate;
mod resourceslice;
mod status;

/// All kinds of the group.
pub fn kinds() -> Vec<schema::Kind> {
    vec![deviceclass::kind(), resourceclaim::kind(), resourceclaimtemplate::kind(), resourceslice::kind()]
}

const GROUP: &str = "resource.k8s.io";
