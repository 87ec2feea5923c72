//! Servers of a scenario's own that the API server reaches as it would reach pods: by a Service and its EndpointSlice.

use crate::scene::{POD_ADDRESS, Scene, object};
use http::Response;
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::api::PostParams;
use net::Body;
use testkit::{Extension, Value, extension::Call, json};

/// A server behind a Service in the scenario's namespace.
pub struct Served {
    server: Extension,
    /// `namespace`, `name` and `port` of the Service.
    pub service: Value,
}

impl Served {
    /// `port` is the Service's; the server's own is whichever is free.
    pub async fn start<A, R>(scene: &Scene, name: &str, port: u16, answer: A) -> Self
    where
        A: Fn(Call) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send,
    {
        let host = format!("{name}.{}.svc", scene.namespace);
        let server = Extension::start(POD_ADDRESS, &host, &scene.cluster.pki.front_proxy, answer).await;
        let target = server.address.port();
        let service = json!({"metadata": {"name": name},
            "spec": {"ports": [{"name": "https", "port": port, "targetPort": target}]}});
        scene.api::<Service>().create(&PostParams::default(), &object(service)).await.expect("a Service");
        let slice = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}}, "addressType": "IPv4",
            "endpoints": [{"addresses": [POD_ADDRESS], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "port": target, "protocol": "TCP"}],
        });
        scene.api::<EndpointSlice>().create(&PostParams::default(), &object(slice)).await.expect("its endpoints");
        Served { server, service: json!({"namespace": scene.namespace, "name": name, "port": port}) }
    }
    /// What its certificate is checked by, in base64.
    pub fn bundle(&self) -> &str {
        &self.server.bundle
    }
    /// `clientConfig` of a webhook with this path.
    pub fn client_config(&self, path: &str) -> Value {
        let mut service = self.service.clone();
        service["path"] = path.into();
        json!({"service": service, "caBundle": self.bundle()})
    }
}
