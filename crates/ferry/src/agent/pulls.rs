//! Pulls that leave from the host's network: a machine on this host does not reach a registry on the host's loopback.

use cri::{AuthConfig, BoxFuture, FilesystemUsage, Image, ImageService};
use netlink::{Namespace, netns};
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

/// An image service whose pulls run on a thread in another network namespace.
pub struct FromHost {
    inner: Arc<dyn ImageService>,
    /// Kept out of the async context when dropped.
    host: Option<Runtime>,
}

impl FromHost {
    pub fn new(inner: Arc<dyn ImageService>, host: Namespace) -> Result<Self, String> {
        let host = Arc::new(host);
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(8)
            .thread_name("image-pull")
            .on_thread_start(move || {
                if let Err(error) = netns::enter(host.fd()) {
                    tracing::error!(%error, "images cannot be pulled from the host's network");
                }
            })
            .enable_all()
            .build()
            .map_err(|e| e.to_string())?;
        Ok(FromHost { inner, host: Some(runtime) })
    }
}

impl Drop for FromHost {
    fn drop(&mut self) {
        if let Some(runtime) = self.host.take() {
            runtime.shutdown_background();
        }
    }
}

impl ImageService for FromHost {
    fn list_images(&self) -> BoxFuture<'_, cri::Result<Vec<Image>>> {
        self.inner.list_images()
    }
    fn image_status<'a>(&'a self, image: &'a str) -> BoxFuture<'a, cri::Result<Option<Image>>> {
        self.inner.image_status(image)
    }
    fn pull_image<'a>(&'a self, image: &'a str, auth: Option<&'a AuthConfig>) -> BoxFuture<'a, cri::Result<String>> {
        let (inner, image, auth) = (self.inner.clone(), image.to_string(), auth.cloned());
        let pull = async move { inner.pull_image(&image, auth.as_ref()).await };
        let task = self.host.as_ref().map(|host| host.spawn(pull));
        Box::pin(async move {
            match task {
                Some(task) => task.await.map_err(|e| cri::Error::internal("image pull", e))?,
                None => Err(cri::Error::internal("image pull", "the agent is ending")),
            }
        })
    }
    fn remove_image<'a>(&'a self, image: &'a str) -> BoxFuture<'a, cri::Result<()>> {
        self.inner.remove_image(image)
    }
    fn image_fs_info(&self) -> BoxFuture<'_, cri::Result<Vec<FilesystemUsage>>> {
        self.inner.image_fs_info()
    }
}
