//! A test in a network namespace of its own, where an address such as pods have is the test's.

use netlink::{Cidr, netns};

pub const POD_ADDRESS: &str = "10.211.0.7";

/// Runs a test where [`POD_ADDRESS`] is this machine's.
pub fn beside_a_pod<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let run = move || {
        let namespace = netlink::Namespace::anonymous().expect("a namespace");
        let address = POD_ADDRESS.parse::<std::net::IpAddr>().expect("an address");
        namespace.route().expect("routes").add_address("lo", Cidr::host(address)).expect("an address");
        netns::enter(namespace.fd()).expect("to enter it");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(test());
    };
    if let Err(panic) = std::thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}
