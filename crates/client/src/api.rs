//! The verbs on one resource.

use crate::{
    Client, DeleteOptions, Error, Gvr, ListOptions, Patch, Result, WatchOptions, WatchStream,
    http_api::{accepted, request},
    in_process,
    transport::collect,
};
use bytes::Bytes;
use http::{Method, Response};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::sync::Arc;
use value::{Object, Str};

/// The calls on one resource, in one namespace or (without one) in all of them or in cluster scope.
#[derive(Debug, Clone)]
pub struct Api {
    client: Client,
    gvr: Gvr,
    namespace: Option<Str>,
}

/// An answer to a list.
#[derive(Debug, Clone)]
pub struct ObjectList {
    pub items: Vec<Arc<Object>>,
    /// `metadata.resourceVersion`: where a watch goes on.
    pub revision: String,
    /// Empty on the last page.
    pub continue_token: String,
}

impl Api {
    pub(crate) fn new(client: Client, gvr: Gvr) -> Self {
        Api { client, gvr, namespace: None }
    }
    /// The same resource in one namespace; `""` stands for none.
    pub fn namespace(&self, namespace: impl Into<Str>) -> Api {
        let namespace = namespace.into();
        Api { namespace: (!namespace.is_empty()).then_some(namespace), ..self.clone() }
    }
    /// Which resource this is.
    pub fn gvr(&self) -> &Gvr {
        &self.gvr
    }
    /// The client below.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// One object.
    pub async fn get(&self, name: &str) -> Result<Arc<Object>> {
        self.call(Method::GET, name, "", &[], Bytes::new(), "").await
    }
    /// One object, or `None` where there is none.
    pub async fn get_opt(&self, name: &str) -> Result<Option<Arc<Object>>> {
        match self.get(name).await {
            Ok(object) => Ok(Some(object)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }
    /// One object as a typed struct.
    pub async fn get_as<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        decode(&*self.get(name).await?)
    }
    /// A GET of a subresource.
    pub async fn get_subresource(&self, name: &str, subresource: &str) -> Result<Arc<Object>> {
        self.call(Method::GET, name, subresource, &[], Bytes::new(), "").await
    }

    /// The objects of the namespace, or of all.
    pub async fn list(&self, options: &ListOptions) -> Result<ObjectList> {
        let path = self.gvr.path(self.namespace.as_deref(), "", "");
        let mut request = request(Method::GET, &path, &options.query(), Bytes::new(), "")?;
        in_process::want_shared(&mut request);
        let mut response = accepted(self.client.send(request).await?).await?;
        match in_process::shared_list(&mut response) {
            Some(list) => Ok(list),
            None => parse_list(&collect(response.into_body()).await?),
        }
    }
    /// The events after a revision.
    pub async fn watch(&self, options: &WatchOptions) -> Result<WatchStream> {
        let path = self.gvr.path(self.namespace.as_deref(), "", "");
        let mut request = request(Method::GET, &path, &options.query(), Bytes::new(), "")?;
        in_process::want_shared(&mut request);
        let mut response = accepted(self.client.send(request).await?).await?;
        match in_process::shared_watch(&mut response) {
            Some(stream) => Ok(stream),
            None => Ok(WatchStream::of_body(response.into_body())),
        }
    }

    /// Creates; the body is a tree or a typed struct with `apiVersion` and `kind`.
    pub async fn create(&self, body: &impl Serialize) -> Result<Arc<Object>> {
        self.call(Method::POST, "", "", &[], encode(body)?, JSON).await
    }
    /// Replaces; with `metadata.resourceVersion` in the body only if it is the current one.
    pub async fn update(&self, name: &str, body: &impl Serialize) -> Result<Arc<Object>> {
        self.call(Method::PUT, name, "", &[], encode(body)?, JSON).await
    }
    /// Replaces the status.
    pub async fn update_status(&self, name: &str, body: &impl Serialize) -> Result<Arc<Object>> {
        self.update_subresource(name, "status", body).await
    }
    /// Replaces through a subresource.
    pub async fn update_subresource(&self, name: &str, sub: &str, body: &impl Serialize) -> Result<Arc<Object>> {
        self.call(Method::PUT, name, sub, &[], encode(body)?, JSON).await
    }
    /// Posts to a subresource (`binding`, `eviction`, `token`).
    pub async fn post_subresource(&self, name: &str, sub: &str, body: &impl Serialize) -> Result<Arc<Object>> {
        self.call(Method::POST, name, sub, &[], encode(body)?, JSON).await
    }
    /// Changes by a patch.
    pub async fn patch(&self, name: &str, patch: &Patch) -> Result<Arc<Object>> {
        self.patch_subresource(name, "", patch).await
    }
    /// Changes the status by a patch.
    pub async fn patch_status(&self, name: &str, patch: &Patch) -> Result<Arc<Object>> {
        self.patch_subresource(name, "status", patch).await
    }
    /// Changes through a subresource by a patch.
    pub async fn patch_subresource(&self, name: &str, subresource: &str, patch: &Patch) -> Result<Arc<Object>> {
        let query = match patch {
            Patch::Apply { manager, force, .. } => {
                vec![("fieldManager", manager.clone()), ("force", if *force { "true".into() } else { String::new() })]
            }
            _ => Vec::new(),
        };
        let body = Bytes::from(patch.value().to_json());
        self.call(Method::PATCH, name, subresource, &query, body, patch.content_type()).await
    }
    /// Begins or finishes the deletion of an object. An object that is not there is an error (`is_not_found`).
    pub async fn delete(&self, name: &str, options: &DeleteOptions) -> Result<()> {
        let path = self.gvr.path(self.namespace.as_deref(), name, "");
        let body = Bytes::from(options.to_value().to_json());
        let response = self.client.send(request(Method::DELETE, &path, &[], body, JSON)?).await?;
        accepted(response).await.map(drop)
    }
    /// Deletes all that the options select.
    pub async fn delete_collection(&self, list: &ListOptions, options: &DeleteOptions) -> Result<()> {
        let path = self.gvr.path(self.namespace.as_deref(), "", "");
        let body = Bytes::from(options.to_value().to_json());
        let response = self.client.send(request(Method::DELETE, &path, &list.query(), body, JSON)?).await?;
        accepted(response).await.map(drop)
    }

    async fn call(
        &self,
        method: Method,
        name: &str,
        subresource: &str,
        query: &[(&'static str, String)],
        body: Bytes,
        content_type: &'static str,
    ) -> Result<Arc<Object>> {
        let path = self.gvr.path(self.namespace.as_deref(), name, subresource);
        let mut request = request(method, &path, query, body, content_type)?;
        in_process::want_shared(&mut request);
        let response = accepted(self.client.send(request).await?).await?;
        read_object(response).await
    }
}

const JSON: &str = "application/json";

async fn read_object(mut response: Response<crate::Body>) -> Result<Arc<Object>> {
    if let Some(object) = in_process::shared_object(&mut response) {
        return Ok(object);
    }
    Object::from_json(collect(response.into_body()).await?).map_err(|e| Error::Decode(e.to_string()))
}

fn encode(body: &impl Serialize) -> Result<Bytes> {
    serde_json::to_vec(body).map(Bytes::from).map_err(|e| Error::Decode(e.to_string()))
}

fn decode<T: DeserializeOwned>(object: &Object) -> Result<T> {
    object.decode().map_err(|e| Error::Decode(format!("{}: {e}", object.key)))
}

#[derive(Deserialize)]
struct RawList<'a> {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ListMeta {
    resource_version: String,
    r#continue: String,
}

/// Each item gets bytes of its own: a slice would keep the whole answer alive as long as one object is.
fn parse_list(body: &[u8]) -> Result<ObjectList> {
    let list: RawList = serde_json::from_slice(body).map_err(|e| Error::Decode(e.to_string()))?;
    let object = |raw: &RawValue| {
        Object::from_json(Bytes::copy_from_slice(raw.get().as_bytes())).map_err(|e| Error::Decode(e.to_string()))
    };
    Ok(ObjectList {
        items: list.items.unwrap_or_default().into_iter().map(object).collect::<Result<_>>()?,
        revision: list.metadata.resource_version,
        continue_token: list.metadata.r#continue,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_into_objects() {
        let text = br#"{"kind":"PodList","metadata":{"resourceVersion":"7","continue":"c"},
            "items":[{"metadata":{"name":"a","namespace":"n","resourceVersion":"5"}}]}"#;
        let list = parse_list(text).unwrap();
        assert_eq!((list.revision.as_str(), list.continue_token.as_str()), ("7", "c"));
        assert_eq!((list.items[0].key.to_string().as_str(), list.items[0].revision.0), ("n/a", 5));
        assert!(parse_list(br#"{"items":null,"metadata":{}}"#).unwrap().items.is_empty());
    }
}
