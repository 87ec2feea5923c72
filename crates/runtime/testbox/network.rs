//! A network that attaches nothing: sandboxes have their loopback only.

/// See the module.
pub struct Loopback;

impl cni::Network for Loopback {
    fn add(&self, request: &cni::AddRequest) -> cni::Result<cni::AddResult> {
        assert!(request.netns.exists(), "the namespace is pinned before the network is asked");
        let ip = cni::IpConfig { address: [127, 0, 0, 1].into(), prefix: 8, gateway: None };
        Ok(cni::AddResult { ips: vec![ip], routes: vec![], mac: String::new(), host_interface: None })
    }
    fn del(&self, _: &cni::Attachment) -> cni::Result<()> {
        Ok(())
    }
    fn check(&self, _: &cni::AddRequest) -> cni::Result<()> {
        Ok(())
    }
    fn gc(&self, _: &[cni::Attachment]) -> cni::Result<()> {
        Ok(())
    }
    fn status(&self) -> cni::Result<()> {
        Ok(())
    }
}
