//! The sandbox: cgroups, namespaces, sysctls, `/dev/shm` and, when shared, the pid namespace.

use std::os::fd::OwnedFd;

use sandbox::cgroup::Hierarchies;
use sandbox::pod;

use crate::layout::PodDir;
use crate::protocol::ShimConfig;

/// Makes it all; an error says which part failed. What was made before stays for the daemon to remove.
pub fn make_sandbox(
    dir: &PodDir,
    config: &ShimConfig,
    hierarchies: &Hierarchies,
) -> Result<Option<(i32, OwnedFd)>, String> {
    let fail = |what: &str| {
        let what = what.to_string();
        move |e: std::io::Error| format!("{what}: {e}")
    };
    // The daemon's own cgroup may be killed as a whole. The v2 part follows when there is time.
    let own = hierarchies.cgroup(&config.shim_cgroup);
    own.create().and_then(|()| own.join_v1()).map_err(fail("cgroup of the shim"))?;
    let cgroup = hierarchies.cgroup_for(&config.cgroup, &config.resources);
    cgroup.create().and_then(|()| cgroup.apply(&config.resources, None)).map_err(fail("cgroup of the pod"))?;
    let namespaces = pod::Namespaces { network: config.own_network, ipc: config.own_ipc };
    pod::enter(namespaces, &config.hostname).map_err(fail("namespaces"))?;
    if config.own_network {
        pod::pin_network(&dir.netns()).map_err(fail("network namespace"))?;
    }
    if config.own_ipc {
        pod::mount_shm(&dir.shm()).map_err(fail("shared memory"))?;
    }
    for (name, value) in &config.sysctls {
        pod::sysctl(name, value).map_err(fail(&format!("sysctl {name}={value}")))?;
    }
    if config.shared_pid { pod::pause().map(Some).map_err(fail("pid namespace")) } else { Ok(None) }
}
