//! The plugins in upstream's order, and what users configure behind them: policies change an object before webhooks do,
//! and refuse it before they do.

use crate::{
    Plugin, Target, certificates, default_class, default_tolerations,
    dynamic::{Dynamic, GROUP, Index, PolicyRounds, Rounds},
    limit_ranger, namespace_lifecycle, node_restriction, pod_node, pod_security, priority, rbac, resource_quota,
    runtime_class, service_account, storage, taint_nodes,
};
use auth::Authorizer;
use base::Result;
use net::Outgoing;
use resource::{Admission, Attributes, Beside, BoxFuture, Call, Charge, Engine};
use schema::{Operation, View};
use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

/// Which plugins take part; by default those that upstream's API server runs by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    off: BTreeSet<String>,
}

impl Choice {
    /// As the flags `--enable-admission-plugins` and `--disable-admission-plugins` say. The error tells which name is wrong.
    pub fn of(enable: &[String], disable: &[String]) -> Result<Choice, String> {
        let known: Vec<&str> = plugins(&Arc::default()).into_iter().map(|(name, _)| name).chain(BEHIND).collect();
        for (flag, names) in [("enable", enable), ("disable", disable)] {
            if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
                let known = known.join(", ");
                return Err(format!("{flag}-admission-plugins plugin \"{name}\" is unknown; there are {known}"));
            }
        }
        if let Some(name) = enable.iter().find(|name| disable.contains(name)) {
            return Err(format!("[{name}] in enable-admission-plugins and disable-admission-plugins overlapped"));
        }
        Ok(Choice { off: disable.iter().cloned().collect() })
    }
    fn has(&self, name: &str) -> bool {
        !self.off.contains(name)
    }
}

const MUTATING_POLICY: &str = "MutatingAdmissionPolicy";
const MUTATING_WEBHOOK: &str = "MutatingAdmissionWebhook";
const VALIDATING_POLICY: &str = "ValidatingAdmissionPolicy";
const VALIDATING_WEBHOOK: &str = "ValidatingAdmissionWebhook";
const RESOURCE_QUOTA: &str = "ResourceQuota";
/// What comes behind the plugins that are objects here.
const BEHIND: [&str; 5] = [MUTATING_POLICY, MUTATING_WEBHOOK, VALIDATING_POLICY, VALIDATING_WEBHOOK, RESOURCE_QUOTA];

/// The plugins by upstream's names, in upstream's order.
fn plugins(authorizer: &Arc<OnceLock<Authorizer>>) -> Vec<(&'static str, Box<dyn Plugin>)> {
    vec![
        ("NamespaceLifecycle", Box::new(namespace_lifecycle::NamespaceLifecycle)),
        ("LimitRanger", Box::new(limit_ranger::LimitRanger)),
        ("ServiceAccount", Box::new(service_account::ServiceAccount)),
        ("NodeRestriction", Box::new(node_restriction::NodeRestriction)),
        ("TaintNodesByCondition", Box::new(taint_nodes::TaintNodesByCondition)),
        ("PodSecurity", Box::new(pod_security::PodSecurity)),
        ("Priority", Box::new(priority::Priority)),
        ("DefaultTolerationSeconds", Box::new(default_tolerations::DefaultTolerationSeconds)),
        ("DefaultStorageClass", Box::new(default_class::STORAGE)),
        ("StorageObjectInUseProtection", Box::new(storage::InUseProtection)),
        ("PersistentVolumeClaimResize", Box::new(storage::ClaimResize)),
        ("RuntimeClass", Box::new(runtime_class::RuntimeClass)),
        ("CertificateApproval", Box::new(certificates::Approval(authorizer.clone()))),
        ("CertificateSigning", Box::new(certificates::Signing(authorizer.clone()))),
        ("CertificateSubjectRestriction", Box::new(certificates::SubjectRestriction)),
        ("DefaultIngressClass", Box::new(default_class::INGRESS)),
        ("PodTopologyLabels", Box::new(pod_node::TopologyLabels)),
        ("PodResizeValidator", Box::new(pod_node::Resize)),
    ]
}

/// The chain. The authorizer that some plugins ask needs the engine, and the engine needs the chain: it is set once
/// both exist; until then those plugins let only `system:masters` pass.
pub struct Chain {
    plugins: Vec<Box<dyn Plugin>>,
    choice: Choice,
    authorizer: Arc<OnceLock<Authorizer>>,
    dynamic: Arc<Dynamic>,
}

impl Default for Chain {
    fn default() -> Self {
        Chain::new(Choice::default())
    }
}

impl Chain {
    pub fn new(choice: Choice) -> Self {
        let authorizer: Arc<OnceLock<Authorizer>> = Arc::default();
        let chosen = plugins(&authorizer).into_iter().filter(|(name, _)| choice.has(name));
        let mut plugins: Vec<Box<dyn Plugin>> = chosen.map(|(_, plugin)| plugin).collect();
        // A rule of RBAC's own storage upstream, which nobody can turn off.
        plugins.push(Box::new(rbac::Escalation(authorizer.clone())));
        let dynamic = Arc::new(Dynamic::new(authorizer.clone()));
        Chain { plugins, choice, authorizer, dynamic }
    }
    /// Gives the plugins their authorizer; a second call changes nothing.
    pub fn set_authorizer(&self, authorizer: Authorizer) {
        let _ = self.authorizer.set(authorizer);
    }
    /// Follows the webhooks and policies of an engine, and calls webhooks by `outgoing`.
    pub fn follow(&self, engine: &Arc<Engine>, outgoing: Arc<Outgoing>) {
        self.dynamic.set_outgoing(outgoing);
        self.dynamic.follow(engine);
    }
    /// Keeps up the status of validating policies; said before [`Chain::follow`], for those that are there already too.
    pub fn check_types(&self) {
        self.dynamic.check_types();
    }
    /// Brings a written configuration of webhooks or policies into force; asked after every write, of whatever kind.
    pub fn settled(&self, call: &Call, view: &dyn View) {
        if call.kind.group == GROUP {
            self.dynamic.renew(view);
        }
    }
    /// Adds a plugin at the end.
    pub fn push(&mut self, plugin: Box<dyn Plugin>) {
        self.plugins.push(plugin);
    }
    fn run(
        &self,
        attributes: &mut Attributes<'_>,
        half: fn(&dyn Plugin, &mut Attributes<'_>) -> Result<()>,
    ) -> Result<()> {
        let (call, operation) = (attributes.call, attributes.operation);
        let mut plugins = self.plugins.iter().filter(|p| p.applies(call, Target::of(call, operation)));
        plugins.try_for_each(|plugin| half(&**plugin, attributes))
    }
}

impl Admission for Chain {
    fn applies(&self, call: &Call, operation: Operation) -> bool {
        self.dynamic.applies(call) || self.plugins.iter().any(|p| p.applies(call, Target::of(call, operation)))
    }
    fn mutate<'a>(&'a self, attributes: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<()>> {
        let done = self.mutate_once(attributes);
        match self.dynamic.index(attributes.call) {
            Some(index) if done.is_ok() => Box::pin(self.mutate_configured(index, attributes)),
            _ => Box::pin(std::future::ready(done)),
        }
    }
    fn charge(&self, write: &Charge<'_>) -> Result<Vec<Beside>> {
        if self.choice.has(RESOURCE_QUOTA) { resource_quota::charge(write) } else { Ok(Vec::new()) }
    }
    fn validate<'a>(&'a self, attributes: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<()>> {
        let done = self.run(attributes, |plugin, attributes| plugin.validate(attributes));
        match self.dynamic.index(attributes.call) {
            Some(index) if done.is_ok() => Box::pin(self.validate_configured(index, attributes)),
            _ => Box::pin(std::future::ready(done)),
        }
    }
}

impl Chain {
    fn mutate_once(&self, attributes: &mut Attributes<'_>) -> Result<()> {
        self.run(attributes, |plugin, attributes| plugin.mutate(attributes))
    }

    /// Policies and webhooks, and everybody a second time where they have changed anything.
    async fn mutate_configured(&self, index: Arc<Index>, a: &mut Attributes<'_>) -> Result<()> {
        let (mut policies, mut hooks) = (PolicyRounds::default(), Rounds::default());
        let catalog = self.dynamic.catalog();
        for again in [false, true] {
            if again {
                self.mutate_once(a)?;
            }
            if self.choice.has(MUTATING_POLICY) {
                self.dynamic.mutate_by_policies(&index.mutations, a, &catalog, &mut policies, again).await?;
            }
            if self.choice.has(MUTATING_WEBHOOK) {
                self.dynamic.call_mutating(&index.mutating, a, &mut hooks, again).await?;
            }
            if !policies.changed && !hooks.changed {
                break;
            }
        }
        Ok(())
    }

    async fn validate_configured(&self, index: Arc<Index>, a: &mut Attributes<'_>) -> Result<()> {
        if self.choice.has(VALIDATING_POLICY) {
            self.dynamic.validate_by_policies(&index.validations, a, &self.dynamic.catalog()).await?;
        }
        if self.choice.has(VALIDATING_WEBHOOK) {
            self.dynamic.call_validating(&index.validating, a).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_name_plugins() {
        let names = |list: &[&str]| list.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let choice = Choice::of(&names(&["NodeRestriction"]), &names(&["PodSecurity", "ResourceQuota"])).unwrap();
        assert!(choice.has("LimitRanger") && !choice.has("PodSecurity") && !choice.has("ResourceQuota"));
        assert_eq!(Chain::new(choice).plugins.len() + 1, Chain::default().plugins.len());
        let wrong = Choice::of(&[], &names(&["Everything"])).unwrap_err();
        assert!(wrong.starts_with("disable-admission-plugins plugin \"Everything\" is unknown"), "{wrong}");
        let both = Choice::of(&names(&["PodSecurity"]), &names(&["PodSecurity"])).unwrap_err();
        assert_eq!(both, "[PodSecurity] in enable-admission-plugins and disable-admission-plugins overlapped");
    }
}
