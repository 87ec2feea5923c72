//! `PortForward`: the shim makes a socket in the pod's network namespace, the connection is made and used here.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use cri::{Error, Result};
use tokio::net::TcpStream;

use crate::client::Session;
use crate::layout::PodDir;
use crate::pod::Runtime;
use crate::protocol::Request;

impl Runtime {
    pub(crate) async fn forward(&self, sandbox: &str, port: u16) -> Result<TcpStream> {
        let pod = self.pod(sandbox)?;
        if !pod.state.lock().ready {
            return Err(Error::FailedPrecondition(format!("pod sandbox {sandbox:?} is not ready")));
        }
        let v4 = connect(&pod.dir, SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await;
        match v4 {
            Ok(stream) => Ok(stream),
            // As upstream: a server that listens on ::1 only is found too, and the first refusal is the one to tell.
            Err(first) => connect(&pod.dir, SocketAddr::from((Ipv6Addr::LOCALHOST, port))).await.map_err(|_| first),
        }
    }
}

async fn connect(dir: &PodDir, to: SocketAddr) -> Result<TcpStream> {
    let refused = |e: std::io::Error| Error::Unavailable(format!("dial {to} in the pod: {e}"));
    let (_session, fds) = Session::open(dir, &Request::Socket { v6: to.is_ipv6() }).await?;
    let fd = fds.into_iter().next().ok_or_else(|| Error::Internal("the shim sent no socket".into()))?;
    match rustix::net::connect(&fd, &to) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
        Err(e) => return Err(refused(e.into())),
    }
    let stream = TcpStream::from_std(fd.into()).map_err(refused)?;
    stream.writable().await.map_err(refused)?;
    match stream.take_error() {
        Ok(None) => Ok(stream),
        Ok(Some(e)) | Err(e) => Err(refused(e)),
    }
}
