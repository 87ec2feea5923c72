//! CertificateSigningRequests: approves what nodes may have, signs what was approved.
//!
//! Client certificates of kubelets are approved as upstream does it: the requester must hold the right (a bootstrap token
//! `nodeclient`, a node `selfnodeclient`). Upstream leaves serving certificates to a person; here a node gets one for the
//! names and addresses that its own Node object carries, and for nothing else.

use base::{clock::Clock, time, time::Timestamp};
use client::{Client, kinds};
use control::{Cache, Caches, Outcome, Queue, Reconciler};
use pki::{Authority, Request};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
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
    authority: Arc<Authority>,
    clock: Arc<dyn Clock>,
}

/// Runs approver and signer until their caches end.
pub async fn run(caches: Caches, clock: Arc<dyn Clock>, authority: Arc<Authority>) {
    let queue: Queue<ObjectKey> = Queue::default();
    let (requests, nodes) = (caches.kind(&kinds::CSRS), caches.kind(&kinds::NODES));
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
    let client = caches.client().clone();
    let controller = Certificates { client, requests, nodes, authority, clock: clock.clone() };
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

/// Decides; `own` are names and addresses of the requesting node.
pub fn decide(csr: &Value, own: &BTreeSet<String>) -> Option<Step> {
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
        KUBELET_SERVING => {
            let asked = request.dns_names.iter().cloned().chain(request.addresses.iter().map(ToString::to_string));
            let is_own = asked.into_iter().all(|name| own.contains(&name));
            is_own.then_some(Step::Approve {
                message: "Auto approving kubelet serving certificate for the node's own names.",
            })
        }
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
        let step = decide(&csr, &self.own_names(csr.str_at(&["spec", "username"])))?;
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

impl Certificates {
    /// Names and addresses that the Node object of a requester carries.
    fn own_names(&self, user: &str) -> BTreeSet<String> {
        let Some(name) = user.strip_prefix("system:node:") else { return BTreeSet::new() };
        let node = self.nodes.get(&ObjectKey::cluster(name)).map(|n| n.value()).unwrap_or_default();
        let addresses = node.items_at(&["status", "addresses"]).iter().map(|a| a.str_at(&["address"]).to_string());
        addresses.chain([name.to_string()]).collect()
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
        let signed = read(&csr).and_then(|r| self.authority.sign(&r, &usages, life).map_err(|e| e.to_string()));
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
        let own = BTreeSet::from(["n1".to_string(), "10.0.0.1".into()]);
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
            (KUBELET_SERVING, "system:node:n1", &["n2"], serving, "nothing"),
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
