//! `resource.k8s.io`: devices that pods ask for (KEP-4381). A ResourceSlice says which devices there are, a DeviceClass
//! names a sort of them, a ResourceClaim asks for some and says which it got.

mod deviceclass;
mod resourceclaim;
mod resourceclaimtemplate;
mod resourceslice;

/// All kinds of the group.
pub fn kinds() -> Vec<schema::Kind> {
    vec![deviceclass::kind(), resourceclaim::kind(), resourceclaimtemplate::kind(), resourceslice::kind()]
}

const GROUP: &str = "resource.k8s.io";
