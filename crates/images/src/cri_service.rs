//! The store as the image half of CRI.

use crate::auth::Credentials;
use crate::error::Error;
use crate::pull::blocking;
use crate::reference::Reference;
use crate::store::{Image, Store};
use cri::{AuthConfig, BoxFuture, FilesystemUsage, ImageReason, ImageService};

impl ImageService for Store {
    fn list_images(&self) -> BoxFuture<'_, cri::Result<Vec<cri::Image>>> {
        let store = self.clone();
        Box::pin(async move {
            let images = blocking(move || store.list()).await.map_err(to_cri)?;
            Ok(images.into_iter().map(describe).collect())
        })
    }

    fn image_status<'a>(&'a self, image: &'a str) -> BoxFuture<'a, cri::Result<Option<cri::Image>>> {
        let (store, name) = (self.clone(), image.to_string());
        Box::pin(async move {
            let work = move || match store.get(&name) {
                Some(image) => Ok(Some(image)),
                // What is no name will not be there later either.
                None => name.parse::<Reference>().map(|_| None),
            };
            blocking(work).await.map_err(to_cri).map(|found| found.map(describe))
        })
    }

    fn pull_image<'a>(&'a self, image: &'a str, auth: Option<&'a AuthConfig>) -> BoxFuture<'a, cri::Result<String>> {
        Box::pin(async move {
            let pulled = self.pull(image, auth.map(credentials)).await.map_err(to_cri)?;
            Ok(pulled.id)
        })
    }

    fn remove_image<'a>(&'a self, image: &'a str) -> BoxFuture<'a, cri::Result<()>> {
        let (store, name) = (self.clone(), image.to_string());
        Box::pin(async move {
            // CRI removes an image with all its names, whichever one is given.
            let work = move || store.get(&name).map_or(Ok(()), |image| store.remove(&image.id));
            blocking(work).await.map_err(to_cri)
        })
    }

    fn image_fs_info(&self) -> BoxFuture<'_, cri::Result<Vec<FilesystemUsage>>> {
        let store = self.clone();
        Box::pin(async move {
            let usage = blocking(move || {
                let root = store.root();
                let used_bytes = store.usage()?;
                let stat = rustix::fs::statvfs(&root)
                    .map_err(|error| Error::Io { path: root.clone(), source: error.into() })?;
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                Ok(FilesystemUsage {
                    timestamp: i64::try_from(now.as_nanos()).unwrap_or(i64::MAX),
                    mountpoint: root.display().to_string(),
                    used_bytes,
                    inodes_used: stat.f_files.saturating_sub(stat.f_ffree),
                    capacity_bytes: stat.f_blocks * stat.f_frsize,
                    available_bytes: stat.f_bavail * stat.f_frsize,
                })
            });
            Ok(vec![usage.await.map_err(to_cri)?])
        })
    }
}

fn describe(image: Image) -> cri::Image {
    let user = image.config.user.split(':').next().unwrap_or_default();
    let uid = user.parse().ok();
    // An image without a user runs as root, which CRI states as a number.
    let uid = if user.is_empty() { Some(0) } else { uid };
    let username = if uid.is_some() { String::new() } else { user.to_string() };
    let pinned = image.repo_tags.iter().any(|tag| tag == crate::toolbox::TOOLBOX);
    cri::Image {
        id: image.id,
        repo_tags: image.repo_tags,
        repo_digests: image.repo_digests,
        size: image.size,
        uid,
        username,
        pinned,
    }
}

fn credentials(auth: &AuthConfig) -> Credentials {
    let decoded = Credentials::decode(&auth.auth).unwrap_or_default();
    let own = !auth.username.is_empty();
    Credentials {
        username: if own { auth.username.clone() } else { decoded.username },
        password: if own { auth.password.clone() } else { decoded.password },
        identity_token: auth.identity_token.clone(),
        registry_token: auth.registry_token.clone(),
    }
}

fn to_cri(error: Error) -> cri::Error {
    let text = error.to_string();
    match error {
        Error::InvalidName { .. } => cri::Error::Image(ImageReason::InvalidImageName, text),
        Error::RegistryUnavailable { .. } => cri::Error::Image(ImageReason::RegistryUnavailable, text),
        Error::Io { .. } => cri::Error::Internal(text),
        _ => cri::Error::Image(ImageReason::ErrImagePull, text),
    }
}
