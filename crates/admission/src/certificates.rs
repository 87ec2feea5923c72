//! CertificateApproval, CertificateSigning and CertificateSubjectRestriction: who may approve and sign for a signer,
//! and that nobody is made a master by a certificate.

use crate::{Plugin, Target, plugin::forbid};
use auth::Authorizer;
use base::{Result, User};
use base64::{Engine, engine::general_purpose::STANDARD};
use resource::{Attributes, Call};
use schema::Operation;
use std::sync::{Arc, OnceLock};
use value::Value;

const GROUP: &str = "certificates.k8s.io";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// Checks `approve` on the signer when conditions of approval are written.
pub struct Approval(pub Arc<OnceLock<Authorizer>>);
/// Checks `sign` on the signer when a certificate is issued.
pub struct Signing(pub Arc<OnceLock<Authorizer>>);
/// Refuses `system:masters` for the signer of ordinary clients.
pub struct SubjectRestriction;

fn is_request(target: Target<'_>, subresource: &str, operation: Operation) -> bool {
    target.group == GROUP
        && target.plural == "certificatesigningrequests"
        && target.subresource == subresource
        && target.operation == operation
}

impl Plugin for Approval {
    fn applies(&self, _: &Call, target: Target<'_>) -> bool {
        is_request(target, "approval", Operation::Update)
    }
    fn validate(&self, a: &mut Attributes<'_>) -> Result<()> {
        let signer = a.old.unwrap_or(&a.object).str_at(&["spec", "signerName"]);
        if may(self.0.get(), &a.call.user, "approve", signer) {
            return Ok(());
        }
        Err(forbid(a, format!("user not permitted to approve requests with signerName {signer:?}")))
    }
}

impl Plugin for Signing {
    fn applies(&self, _: &Call, target: Target<'_>) -> bool {
        is_request(target, "status", Operation::Update)
    }
    fn validate(&self, a: &mut Attributes<'_>) -> Result<()> {
        let old = a.old.unwrap_or(&Value::Null);
        let failed = |v: &Value| v.items_at(&["status", "conditions"]).iter().any(|c| c.str_at(&["type"]) == "Failed");
        let issued = old.at(&["status", "certificate"]) != a.object.at(&["status", "certificate"]);
        if !issued && failed(old) == failed(&a.object) {
            return Ok(());
        }
        let signer = old.str_at(&["spec", "signerName"]);
        if may(self.0.get(), &a.call.user, "sign", signer) {
            return Ok(());
        }
        Err(forbid(a, format!("user not permitted to sign requests with signerName {signer:?}")))
    }
}

impl Plugin for SubjectRestriction {
    fn applies(&self, _: &Call, target: Target<'_>) -> bool {
        is_request(target, "", Operation::Create)
    }
    fn validate(&self, a: &mut Attributes<'_>) -> Result<()> {
        if a.object.str_at(&["spec", "signerName"]) != CLIENT_SIGNER {
            return Ok(());
        }
        let pem = STANDARD.decode(a.object.str_at(&["spec", "request"])).unwrap_or_default();
        let request = pki::Request::parse(&pem).map_err(|e| forbid(a, format!("failed to parse CSR: {e}")))?;
        if request.organizations.iter().any(|o| o == "system:masters") {
            return Err(forbid(a, format!("use of {CLIENT_SIGNER} signer with system:masters group is not allowed")));
        }
        Ok(())
    }
}

/// The verb on the signer by name, or on `<domain>/*`.
fn may(authorizer: Option<&Authorizer>, user: &User, verb: &str, signer: &str) -> bool {
    if user.in_group("system:masters") {
        return true;
    }
    let Some(authorizer) = authorizer else { return false };
    let domain = format!("{}/*", signer.split_once('/').map_or(signer, |(domain, _)| domain));
    let ask = |name| auth::Attributes::resource(user, verb, GROUP, "signers").named(name);
    authorizer.authorize(&ask(signer)).allowed() || authorizer.authorize(&ask(&domain)).allowed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, check};
    use value::value;

    fn request(organization: &str) -> Case {
        let csr = pki::CertificateRequest::new("x", Some(organization), &[]).unwrap();
        let body = value!({"metadata": {"name": "r"}, "spec": {"signerName": CLIENT_SIGNER, "request": STANDARD.encode(csr.request_pem)}});
        Case::default().create(GROUP, "certificatesigningrequests", body)
    }

    #[test]
    fn nobody_becomes_a_master_by_certificate() {
        check(&SubjectRestriction, request("dev"), "ok");
        check(
            &SubjectRestriction,
            request("system:masters"),
            r#"403 certificatesigningrequests.certificates.k8s.io "r" is forbidden: use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"#,
        );
    }

    #[test]
    fn signers_need_the_right_on_the_signer() {
        let signed =
            value!({"metadata": {"name": "r"}, "spec": {"signerName": "x.io/y"}, "status": {"certificate": "Zm9v"}});
        let mut bare = signed.clone();
        bare.remove(&["status"]);
        let case =
            || Case::default().update(GROUP, "certificatesigningrequests", "status", signed.clone(), bare.clone());
        let plugin = Signing(Arc::default());
        check(&plugin, case().by(User::master("root")), "ok");
        check(
            &plugin,
            case().by(User::new("eve", [])),
            r#"403 certificatesigningrequests.certificates.k8s.io "r" is forbidden: user not permitted to sign requests with signerName "x.io/y""#,
        );
    }
}
