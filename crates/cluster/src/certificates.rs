//! CertificateSigningRequests: approves what nodes may have, signs what was approved.
//!
//! Client certificates of kubelets are approved as upstream does it: the requester must hold the right (a bootstrap token
//! `nodeclient`, a node `selfnodeclient`). Upstream leaves serving certificates to a person; here a node gets one for its
//! own name and for addresses of its Node object. The node writes that object itself, so the object proves nothing: no
//! certificate is given for what others are reached by ([`Own::may_have`]), or a node could pass for the API server. A
//! node on the API server's own host is known by its name alone.

use base::{clock::Clock, time, time::Timestamp};
use client::{Client, kinds};
use control::{Cache, Caches, Outcome, Queue, Reconciler};
use pki::{Authority, Request};
use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};
use value::{Object, ObjectKey, Value, value};

const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";

/// `--cluster-signing-duration`
const LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

struct Certificates {
    client: Client,
    requests: Cache,
    nodes: Cache,
    endpoints: Cache,
    services: (IpAddr, u8),
    authority: Arc<Authority>,
    clock: Arc<dyn Clock>,
}

/// What a serving certificate of one node may name.
#[derive(Debug, Default)]
pub struct Own {
    /// The node's name.
    pub name: String,
    /// Addresses of its Node object.
    pub addresses: BTreeSet<IpAddr>,
    /// Addresses of other Node objects.
    pub others: BTreeSet<IpAddr>,
    /// Where the API server is reached. A node may run on the same host, but gets no certificate for it.
    pub servers: BTreeSet<IpAddr>,
    /// Address and prefix length of the Service network.
    pub services: Option<(IpAddr, u8)>,
}

impl Own {
    /// True for an address that is the node's, and by which nobody else can be meant.
    fn may_have(&self, address: IpAddr) -> bool {
        let of_all = address.is_loopback() || address.is_unspecified() || address.is_multicast();
        let of_service = self.services.is_some_and(|network| within(address, network));
        self.addresses.contains(&address) && !of_all && !of_service && !self.others.contains(&address)
    }
    /// True for a request that names the node and its addresses, and nothing else.
    fn covers(&self, request: &Request) -> bool {
        let addresses = &request.addresses;
        let left = addresses.iter().any(|a| !self.servers.contains(&a.to_canonical()));
        // A mapped IPv4 address is another way to write what may be forbidden.
        let plain = addresses.iter().all(|a| *a == a.to_canonical());
        request.dns_names.iter().all(|name| *name == self.name)
            && plain
            && addresses.iter().all(|address| self.may_have(*address))
            && (left || !request.dns_names.is_empty())
    }
}

fn within(address: IpAddr, (base, prefix): (IpAddr, u8)) -> bool {
    let prefix = u32::from(prefix);
    match (address, base) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u32::from(a) ^ u32::from(b)).checked_shr(32 - prefix).unwrap_or(0) == 0,
        (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a) ^ u128::from(b)).checked_shr(128 - prefix).unwrap_or(0) == 0,
        _ => false,
    }
}

/// Runs approver and signer until their caches end; `services` is address and prefix length of the Service network.
pub async fn run(caches: Caches, clock: Arc<dyn Clock>, authority: Arc<Authority>, services: (IpAddr, u8)) {
    let queue: Queue<ObjectKey> = Queue::default();
    let (requests, nodes) = (caches.kind(&kinds::CSRS), caches.kind(&kinds::NODES));
    let endpoints = caches.kind(&kinds::ENDPOINTS);
    requests.subscribe_keys(&queue);
    // A node may ask for its serving certificate before its object carries its addresses.
    let (waiting, again) = (requests.clone(), queue.clone());
    nodes.on_event(move |event| {
        let addresses = |o: Option<&Arc<Object>>| o.map(|o| o.value().at(&["status", "addresses"]).clone());
        if addresses(event.old) != addresses(event.new) {
            waiting.keys().into_iter().for_each(|key| again.add(key));
        }
    });
    requests.wait_synced().await;
    nodes.wait_synced().await;
    endpoints.wait_synced().await;
    let client = caches.client().clone();
    let controller = Certificates { client, requests, nodes, endpoints, services, authority, clock: clock.clone() };
    control::run(Arc::new(controller), queue, 2, clock).await;
}

/// What to do with a request.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Approve it if the requester holds this right on `certificatesigningrequests/<right>`.
    ApproveIfAllowed {
        right: &'static str,
        message: &'static str,
    },
    /// A node asks for what is its own.
    Approve {
        message: &'static str,
    },
    Sign,
    /// The approved request is not what its signer signs.
    Fail(String),
}

/// Decides; `own` is what the requesting node may have.
pub fn decide(csr: &Value, own: &Own) -> Option<Step> {
    let signer = csr.str_at(&["spec", "signerName"]);
    if ![CLIENT, KUBELET_CLIENT, KUBELET_SERVING].contains(&signer) {
        return None;
    }
    let has = |kind: &str| {
        csr.items_at(&["status", "conditions"])
            .iter()
            .any(|c| c.str_at(&["type"]) == kind && c.str_at(&["status"]) == "True")
    };
    if has("Denied") || has("Failed") || !csr.str_at(&["status", "certificate"]).is_empty() {
        return None;
    }
    let request = match read(csr) {
        Ok(request) => request,
        Err(why) => return has("Approved").then_some(Step::Fail(why)),
    };
    let verdict = match signer {
        KUBELET_CLIENT => kubelet_client(csr, &request),
        KUBELET_SERVING => kubelet_serving(csr, &request),
        _ => client_usages(csr),
    };
    if has("Approved") {
        return Some(verdict.map_or_else(Step::Fail, |()| Step::Sign));
    }
    verdict.ok()?;
    let user = csr.str_at(&["spec", "username"]);
    match signer {
        KUBELET_CLIENT if user == request.common_name => Some(Step::ApproveIfAllowed {
            right: "selfnodeclient",
            message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
        }),
        KUBELET_CLIENT => Some(Step::ApproveIfAllowed {
            right: "nodeclient",
            message: "Auto approving kubelet client certificate after SubjectAccessReview.",
        }),
        KUBELET_SERVING => own.covers(&request).then_some(Step::Approve {
            message: "Auto approving kubelet serving certificate for the node's own names.",
        }),
        _ => None,
    }
}

fn read(csr: &Value) -> Result<Request, String> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let pem = STANDARD.decode(csr.str_at(&["spec", "request"])).map_err(|e| e.to_string())?;
    Request::parse(&pem).map_err(|e| e.to_string())
}

fn usages(csr: &Value) -> BTreeSet<&str> {
    csr.items_at(&["spec", "usages"]).iter().filter_map(Value::as_str).collect()
}

fn is_node(request: &Request) -> Result<(), String> {
    if request.organizations != ["system:nodes"] {
        return Err("subject organization is not system:nodes".into());
    }
    match request.common_name.strip_prefix("system:node:") {
        Some(name) if !name.is_empty() => Ok(()),
        _ => Err("subject common name does not begin with system:node: ".into()),
    }
}

/// Source: `certificates.k8s.io` documentation of the signer, `ValidateKubeletClientCSR`.
fn kubelet_client(csr: &Value, request: &Request) -> Result<(), String> {
    is_node(request)?;
    if !(request.dns_names.is_empty()
        && request.addresses.is_empty()
        && request.emails.is_empty()
        && request.uris.is_empty())
    {
        return Err("subject alternative names are not allowed".into());
    }
    only(csr, "client auth")
}

fn kubelet_serving(csr: &Value, request: &Request) -> Result<(), String> {
    is_node(request)?;
    let groups = csr.items_at(&["spec", "groups"]);
    if csr.str_at(&["spec", "username"]) != request.common_name || !groups.iter().any(|g| *g == "system:nodes") {
        return Err("the requester is not the node that the subject names".into());
    }
    if request.dns_names.is_empty() && request.addresses.is_empty() {
        return Err("at least one DNS name or IP address is required".into());
    }
    if !(request.emails.is_empty() && request.uris.is_empty()) {
        return Err("email and URI names are not allowed".into());
    }
    only(csr, "server auth")
}

/// The purpose, digital signature, and (for RSA keys) key encipherment; nothing else.
fn only(csr: &Value, purpose: &str) -> Result<(), String> {
    let usages = usages(csr);
    let known = [purpose, "digital signature", "key encipherment"];
    if usages.contains(purpose) && usages.contains("digital signature") && usages.iter().all(|u| known.contains(u)) {
        return Ok(());
    }
    Err(format!("usages must be {purpose:?} and \"digital signature\", with or without \"key encipherment\""))
}

fn client_usages(csr: &Value) -> Result<(), String> {
    let known = ["client auth", "digital signature", "key encipherment"];
    let usages = usages(csr);
    if usages.contains("client auth") && usages.iter().all(|u| known.contains(u)) {
        return Ok(());
    }
    Err("usages must contain \"client auth\", and nothing but it, \"digital signature\" and \"key encipherment\""
        .into())
}

impl Reconciler for Certificates {
    type Key = ObjectKey;
    type Plan = (Value, Step);

    fn name(&self) -> &'static str {
        "certificates"
    }

    fn plan(&self, key: &ObjectKey, _now: Timestamp) -> Option<(Value, Step)> {
        let csr = self.requests.get(key)?.value();
        let step = decide(&csr, &self.own(csr.str_at(&["spec", "username"])))?;
        Some((csr, step))
    }

    async fn execute(&self, key: &ObjectKey, (csr, step): (Value, Step)) -> Result<Outcome, client::Error> {
        match step {
            Step::ApproveIfAllowed { right, message } => {
                if !self.allowed(&csr, right).await? {
                    return Ok(Outcome::Done);
                }
                self.condition(key, csr, "approval", "Approved", "AutoApproved", message).await?;
            }
            Step::Approve { message } => {
                self.condition(key, csr, "approval", "Approved", "AutoApproved", message).await?;
            }
            Step::Fail(why) => self.condition(key, csr, "status", "Failed", "SignerValidationFailure", &why).await?,
            Step::Sign => self.sign(key, csr).await?,
        }
        Ok(Outcome::Done)
    }
}

fn addresses_of(node: &Value) -> impl Iterator<Item = IpAddr> + '_ {
    let addresses = node.items_at(&["status", "addresses"]).iter();
    addresses.filter_map(|a| a.str_at(&["address"]).parse::<IpAddr>().ok()).map(|ip| ip.to_canonical())
}

impl Certificates {
    /// What a requester may have in its serving certificate.
    fn own(&self, user: &str) -> Own {
        let Some(name) = user.strip_prefix("system:node:") else { return Own::default() };
        let mut own =
            Own { name: name.into(), servers: self.servers(), services: Some(self.services), ..Own::default() };
        for node in self.nodes.list() {
            let into = if node.name() == name { &mut own.addresses } else { &mut own.others };
            into.extend(addresses_of(&node.value()));
        }
        own
    }

    /// Where the API server is reached: the endpoints of the `kubernetes` Service.
    fn servers(&self) -> BTreeSet<IpAddr> {
        let endpoints = self.endpoints.get(&ObjectKey::new("default", "kubernetes")).map(|e| e.value());
        let endpoints = endpoints.unwrap_or_default();
        let subsets = endpoints.items_at(&["subsets"]).iter();
        let addresses = subsets.flat_map(|s| s.items_at(&["addresses"])).map(|a| a.str_at(&["ip"]));
        addresses.filter_map(|ip| ip.parse::<IpAddr>().ok()).map(|ip| ip.to_canonical()).collect()
    }

    async fn allowed(&self, csr: &Value, right: &str) -> Result<bool, client::Error> {
        let mut review = value!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {
                "user": csr.str_at(&["spec", "username"]), "uid": csr.str_at(&["spec", "uid"]),
                "resourceAttributes": {
                    "group": "certificates.k8s.io", "resource": "certificatesigningrequests", "verb": "create",
                    "subresource": right, "version": "*",
                },
            },
        });
        review.set(&["spec", "groups"], csr.at(&["spec", "groups"]));
        let answer = self.client.api(&kinds::SUBJECT_ACCESS_REVIEWS).create(&review).await?;
        Ok(answer.value().at(&["status", "allowed"]).as_bool() == Some(true))
    }

    async fn condition(
        &self,
        key: &ObjectKey,
        mut csr: Value,
        part: &str,
        kind: &str,
        reason: &str,
        message: &str,
    ) -> Result<(), client::Error> {
        let now = time::seconds(self.clock.now());
        let mut conditions = csr.items_at(&["status", "conditions"]).to_vec();
        conditions.push(value!({
            "type": kind, "status": "True", "reason": reason, "message": message,
            "lastUpdateTime": now.as_str(), "lastTransitionTime": now.as_str(),
        }));
        csr.set(&["status", "conditions"], conditions);
        let api = self.client.api(&kinds::CSRS);
        let made = api.update_subresource(&key.name, part, &csr).await?;
        self.requests.put(made.key.clone(), made.revision, made);
        Ok(())
    }

    async fn sign(&self, key: &ObjectKey, mut csr: Value) -> Result<(), client::Error> {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let asked = csr.at(&["spec", "expirationSeconds"]).as_i64().and_then(|s| u64::try_from(s).ok());
        let life = asked.map_or(LIFE, |s| Duration::from_secs(s.max(600)).min(LIFE));
        let usages: Vec<String> = usages(&csr).into_iter().map(String::from).collect();
        let signed = read(&csr).and_then(|mut request| {
            if csr.str_at(&["spec", "signerName"]) == KUBELET_SERVING {
                let servers = self.servers();
                request.addresses.retain(|address| !servers.contains(&address.to_canonical()));
            }
            self.authority.sign(&request, &usages, life).map_err(|e| e.to_string())
        });
        match signed {
            Ok(pem) => {
                csr.set(&["status", "certificate"], STANDARD.encode(pem));
                let made = self.client.api(&kinds::CSRS).update_subresource(&key.name, "status", &csr).await?;
                self.requests.put(made.key.clone(), made.revision, made);
                Ok(())
            }
            Err(why) => self.condition(key, csr, "status", "Failed", "SigningError", &why).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine, engine::general_purpose::STANDARD};

    fn csr(signer: &str, user: &str, names: &[&str], usages: &[&str]) -> Value {
        let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
        let pem = pki::CertificateRequest::new("system:node:n1", Some("system:nodes"), &names).unwrap().request_pem;
        value!({"spec": {
            "signerName": signer, "username": user, "groups": ["system:nodes"], "usages": usages,
            "request": STANDARD.encode(pem),
        }})
    }

    fn word(csr: &Value) -> String {
        let all = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect::<BTreeSet<IpAddr>>();
        // The node wrote into its object whatever it liked.
        let own = Own {
            name: "n1".into(),
            addresses: all(&[
                "10.0.0.1",
                "10.0.0.2",
                "10.0.0.9",
                "127.0.0.1",
                "0.0.0.0",
                "10.96.0.1",
                "10.96.255.9",
                "::1",
            ]),
            others: all(&["10.0.0.2"]),
            servers: all(&["10.0.0.9"]),
            services: Some(([10, 96, 0, 0].into(), 16)),
        };
        match decide(csr, &own) {
            None => "nothing".into(),
            Some(Step::ApproveIfAllowed { right, .. }) => format!("approve if {right}"),
            Some(Step::Approve { .. }) => "approve".into(),
            Some(Step::Sign) => "sign".into(),
            Some(Step::Fail(_)) => "fail".into(),
        }
    }

    #[test]
    fn decisions() {
        let (client, serving) = (["client auth", "digital signature"], ["server auth", "digital signature"]);
        for (signer, user, names, usages, want) in [
            (KUBELET_CLIENT, "system:bootstrap:abc", &[][..], client, "approve if nodeclient"),
            (KUBELET_CLIENT, "system:node:n1", &[], client, "approve if selfnodeclient"),
            (KUBELET_CLIENT, "system:node:n1", &[], serving, "nothing"),
            (KUBELET_CLIENT, "system:node:n1", &["n1"], client, "nothing"),
            (KUBELET_SERVING, "system:node:n1", &["n1", "10.0.0.1"], serving, "approve"),
            (KUBELET_SERVING, "system:node:n1", &["n1"], serving, "approve"),
            (KUBELET_SERVING, "system:node:n1", &["10.0.0.1"], serving, "approve"),
            (KUBELET_SERVING, "system:node:n1", &["n2"], serving, "nothing"),
            (KUBELET_SERVING, "system:node:n1", &["n1", "kubernetes.default.svc"], serving, "nothing"),
            (KUBELET_SERVING, "system:node:n1", &["localhost"], serving, "nothing"),
            (KUBELET_SERVING, "system:node:n1", &["10.96.0.1"], serving, "nothing"),
            (KUBELET_SERVING, "system:node:n1", &["n1", "10.96.255.9"], serving, "nothing"),
            (KUBELET_SERVING, "system:node:n1", &["n1", "::ffff:10.96.0.1"], serving, "nothing"),
            (KUBELET_SERVING, "system:node:n1", &["127.0.0.1"], serving, "nothing"),
            (KUBELET_SERVING, "system:node:n1", &["::1"], serving, "nothing"),
            (KUBELET_SERVING, "system:node:n1", &["0.0.0.0"], serving, "nothing"),
            // Another node's.
            (KUBELET_SERVING, "system:node:n1", &["n1", "10.0.0.2"], serving, "nothing"),
            (KUBELET_SERVING, "system:node:n1", &["n1", "10.0.0.3"], serving, "nothing"),
            // The API server's: signed without it, so something else must be left.
            (KUBELET_SERVING, "system:node:n1", &["n1", "10.0.0.9"], serving, "approve"),
            (KUBELET_SERVING, "system:node:n1", &["10.0.0.9"], serving, "nothing"),
            (KUBELET_SERVING, "system:node:n2", &["n1"], serving, "nothing"),
            (CLIENT, "anybody", &[], client, "nothing"),
            ("example.com/own", "anybody", &[], client, "nothing"),
        ] {
            assert_eq!(word(&csr(signer, user, names, &usages)), want, "{signer} {user} {names:?}");
        }
    }

    #[test]
    fn approved_requests_are_signed_or_fail() {
        let mut good = csr(CLIENT, "anybody", &[], &["client auth"]);
        good.set(&["status", "conditions"], vec![value!({"type": "Approved", "status": "True"})]);
        assert_eq!(word(&good), "sign");
        good.set(&["spec", "usages"], vec![Value::from("server auth")]);
        assert_eq!(word(&good), "fail");
        good.set(&["status", "certificate"], "x");
        assert_eq!(word(&good), "nothing");
    }
}
