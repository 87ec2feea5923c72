//! The plugins in upstream's order, and what users configure behind them: policies change an object before webhooks do,
//! and refuse it before they do.

use crate::{
    Plugin, Target, anti_affinity, certificates, declared_features, default_class, default_tolerations,
    dynamic::{Dynamic, GROUP, Index, PolicyRounds, Rounds},
    event_rate, external_ips,
    image_policy::ImagePolicy,
    images, limit_ranger, namespace_lifecycle, namespaces, node_restriction, owners, pod_node, pod_security, priority,
    rbac, resource_quota, runtime_class, service_account,
    settings::Settings,
    storage, taint_nodes, tolerations,
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

/// Which plugins take part, and what they are told; by default those that upstream's API server runs by default.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    on: BTreeSet<String>,
    off: BTreeSet<String>,
    settings: Arc<Settings>,
}

impl Choice {
    /// As the flags `--enable-admission-plugins` and `--disable-admission-plugins` and the configuration say. The error tells
    /// which name is wrong, or which plugin cannot run with what it was told.
    pub fn of(enable: &[String], disable: &[String], settings: Settings) -> Result<Choice, String> {
        for (flag, names) in [("enable", enable), ("disable", disable)] {
            if let Some(name) = names.iter().find(|name| !NAMES.contains(&name.as_str())) {
                let known = NAMES.join(", ");
                return Err(format!("{flag}-admission-plugins plugin \"{name}\" is unknown; there are {known}"));
            }
        }
        if let Some(name) = enable.iter().find(|name| disable.contains(name)) {
            return Err(format!("[{name}] in enable-admission-plugins and disable-admission-plugins overlapped"));
        }
        let set = |names: &[String]| names.iter().cloned().collect();
        let choice = Choice { on: set(enable), off: set(disable), settings: Arc::new(settings) };
        let missing = [
            (EVENT_RATE, choice.settings.events.is_none(), "limits: Invalid value: null: must not be empty"),
            (IMAGE_POLICY, choice.settings.image_policy.is_none(), "no config specified"),
        ];
        match missing.into_iter().find(|(name, missing, _)| *missing && choice.has(name)) {
            Some((name, _, why)) => Err(format!("couldn't init admission plugin \"{name}\": {why}")),
            None => Ok(choice),
        }
    }
    fn has(&self, name: &str) -> bool {
        !self.off.contains(name) && (self.on.contains(name) || !OFF.contains(&name))
    }
}

const AUTO_PROVISION: &str = "NamespaceAutoProvision";
const IMAGE_POLICY: &str = "ImagePolicyWebhook";
const EVENT_RATE: &str = "EventRateLimit";
const MUTATING_POLICY: &str = "MutatingAdmissionPolicy";
const MUTATING_WEBHOOK: &str = "MutatingAdmissionWebhook";
const VALIDATING_POLICY: &str = "ValidatingAdmissionPolicy";
const VALIDATING_WEBHOOK: &str = "ValidatingAdmissionWebhook";
const RESOURCE_QUOTA: &str = "ResourceQuota";

/// All plugins of 1.36, in upstream's order. Those of whom [`plugin`] makes nothing are steps of the chain, or have nothing to
/// do: `AlwaysAdmit`, and four that upstream's feature gates keep still by default (`GenericWorkload`, `WorkloadWithJob` and
/// `ClusterTrustBundle`, whose kinds are not served here).
const NAMES: [&str; 41] = [
    "AlwaysAdmit",
    AUTO_PROVISION,
    "NamespaceLifecycle",
    "NamespaceExists",
    "LimitPodHardAntiAffinityTopology",
    "LimitRanger",
    "ServiceAccount",
    "NodeRestriction",
    "TaintNodesByCondition",
    "AlwaysPullImages",
    IMAGE_POLICY,
    "PodSecurity",
    "PodNodeSelector",
    "Priority",
    "DefaultTolerationSeconds",
    "PodTolerationRestriction",
    EVENT_RATE,
    "ExtendedResourceToleration",
    "DefaultStorageClass",
    "StorageObjectInUseProtection",
    "PodGroupProtection",
    "OwnerReferencesPermissionEnforcement",
    "PersistentVolumeClaimResize",
    "RuntimeClass",
    "CertificateApproval",
    "CertificateSigning",
    "ClusterTrustBundleAttest",
    "CertificateSubjectRestriction",
    "DefaultIngressClass",
    "DenyServiceExternalIPs",
    "PodTopologyLabels",
    "PodGroupWorkloadExists",
    "NodeDeclaredFeatureValidator",
    "JobValidation",
    "PodResizeValidator",
    MUTATING_POLICY,
    MUTATING_WEBHOOK,
    VALIDATING_POLICY,
    VALIDATING_WEBHOOK,
    RESOURCE_QUOTA,
    "AlwaysDeny",
];

/// Those that run only where they are asked for. Upstream's list, but for NodeRestriction, without which a node could change
/// any other: kubeadm and everybody else turns it on.
const OFF: [&str; 13] = [
    "AlwaysAdmit",
    AUTO_PROVISION,
    "NamespaceExists",
    "LimitPodHardAntiAffinityTopology",
    "AlwaysPullImages",
    IMAGE_POLICY,
    "PodNodeSelector",
    "PodTolerationRestriction",
    EVENT_RATE,
    "ExtendedResourceToleration",
    "OwnerReferencesPermissionEnforcement",
    "DenyServiceExternalIPs",
    "AlwaysDeny",
];

/// The plugin of a name.
fn plugin(
    name: &str,
    settings: &Settings,
    authorizer: &Arc<OnceLock<Authorizer>>,
    dynamic: &Arc<Dynamic>,
) -> Option<Box<dyn Plugin>> {
    Some(match name {
        "NamespaceLifecycle" => Box::new(namespace_lifecycle::NamespaceLifecycle),
        "NamespaceExists" => Box::new(namespaces::NamespaceExists),
        "LimitPodHardAntiAffinityTopology" => Box::new(anti_affinity::LimitTopology),
        "LimitRanger" => Box::new(limit_ranger::LimitRanger),
        "ServiceAccount" => Box::new(service_account::ServiceAccount),
        "NodeRestriction" => Box::new(node_restriction::NodeRestriction),
        "TaintNodesByCondition" => Box::new(taint_nodes::TaintNodesByCondition),
        "AlwaysPullImages" => Box::new(images::AlwaysPullImages),
        "PodSecurity" => Box::new(pod_security::PodSecurity(settings.pod_security.clone())),
        "PodNodeSelector" => Box::new(settings.node_selectors.clone()),
        "Priority" => Box::new(priority::Priority),
        "DefaultTolerationSeconds" => Box::new(default_tolerations::DefaultTolerationSeconds),
        "PodTolerationRestriction" => Box::new(settings.tolerations.clone()),
        EVENT_RATE => Box::new(event_rate::EventRateLimit::new(settings.events.as_deref().unwrap_or(&[]))),
        "ExtendedResourceToleration" => Box::new(tolerations::ExtendedResources),
        "DefaultStorageClass" => Box::new(default_class::STORAGE),
        "StorageObjectInUseProtection" => Box::new(storage::InUseProtection),
        "OwnerReferencesPermissionEnforcement" => {
            Box::new(owners::Owners { authorizer: authorizer.clone(), dynamic: dynamic.clone() })
        }
        "PersistentVolumeClaimResize" => Box::new(storage::ClaimResize),
        "RuntimeClass" => Box::new(runtime_class::RuntimeClass),
        "CertificateApproval" => Box::new(certificates::Approval(authorizer.clone())),
        "CertificateSigning" => Box::new(certificates::Signing(authorizer.clone())),
        "CertificateSubjectRestriction" => Box::new(certificates::SubjectRestriction),
        "DefaultIngressClass" => Box::new(default_class::INGRESS),
        "DenyServiceExternalIPs" => Box::new(external_ips::DenyExternalIps),
        "PodTopologyLabels" => Box::new(pod_node::TopologyLabels),
        "NodeDeclaredFeatureValidator" => Box::new(declared_features::DeclaredFeatures),
        "PodResizeValidator" => Box::new(pod_node::Resize),
        "AlwaysDeny" => Box::new(external_ips::AlwaysDeny),
        _ => return None,
    })
}

/// The chain. The authorizer that some plugins ask needs the engine, and the engine needs the chain: it is set once
/// both exist; until then those plugins let only `system:masters` pass.
pub struct Chain {
    plugins: Vec<Box<dyn Plugin>>,
    choice: Choice,
    authorizer: Arc<OnceLock<Authorizer>>,
    dynamic: Arc<Dynamic>,
    images: Option<ImagePolicy>,
    provides_namespaces: bool,
}

impl Default for Chain {
    fn default() -> Self {
        Chain::new(Choice::default())
    }
}

impl Chain {
    pub fn new(choice: Choice) -> Self {
        let authorizer: Arc<OnceLock<Authorizer>> = Arc::default();
        let settings = &choice.settings;
        let dynamic = Dynamic::new(authorizer.clone(), settings.mutating.clone(), settings.validating.clone());
        let dynamic = Arc::new(dynamic);
        let chosen = NAMES.into_iter().filter(|name| choice.has(name));
        let mut plugins: Vec<Box<dyn Plugin>> =
            chosen.filter_map(|name| plugin(name, settings, &authorizer, &dynamic)).collect();
        // A rule of RBAC's own storage upstream, which nobody can turn off.
        plugins.push(Box::new(rbac::Escalation(authorizer.clone())));
        let images = settings.image_policy.clone().filter(|_| choice.has(IMAGE_POLICY)).map(ImagePolicy::new);
        let provides_namespaces = choice.has(AUTO_PROVISION);
        Chain { plugins, authorizer, dynamic, images, provides_namespaces, choice }
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
        self.dynamic.applies(call)
            || self.plugins.iter().any(|p| p.applies(call, Target::of(call, operation)))
            || self.images_of(call, operation).is_some()
            || self.provides_namespaces && namespaces::wanted(call, operation)
    }
    fn mutate<'a>(&'a self, attributes: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<()>> {
        if self.provides_namespaces && namespaces::wanted(attributes.call, attributes.operation) {
            return Box::pin(async move {
                namespaces::provide(self.dynamic.engine(), attributes).await?;
                self.mutate_all(attributes).await
            });
        }
        self.mutate_all(attributes)
    }
    fn charge(&self, write: &Charge<'_>) -> Result<Vec<Beside>> {
        match self.choice.has(RESOURCE_QUOTA) {
            true => resource_quota::charge(write, &self.choice.settings.quota),
            false => Ok(Vec::new()),
        }
    }
    fn validate<'a>(&'a self, attributes: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<()>> {
        let done = self.run(attributes, |plugin, attributes| plugin.validate(attributes));
        let index = self.dynamic.index(attributes.call);
        let images = self.images_of(attributes.call, attributes.operation);
        if done.is_err() || index.is_none() && images.is_none() {
            return Box::pin(std::future::ready(done));
        }
        Box::pin(async move {
            if let Some(images) = images {
                images.ask(self.dynamic.outgoing(), attributes).await?;
            }
            match index {
                Some(index) => self.validate_configured(index, attributes).await,
                None => Ok(()),
            }
        })
    }
}

impl Chain {
    fn images_of(&self, call: &Call, operation: Operation) -> Option<&ImagePolicy> {
        self.images.as_ref().filter(|images| images.applies(call, operation))
    }

    fn mutate_all<'a>(&'a self, attributes: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<()>> {
        let done = self.mutate_once(attributes);
        match self.dynamic.index(attributes.call) {
            Some(index) if done.is_ok() => Box::pin(self.mutate_configured(index, attributes)),
            _ => Box::pin(std::future::ready(done)),
        }
    }

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

    fn chosen(enable: &[&str], disable: &[&str], settings: Settings) -> Result<Choice, String> {
        let names = |list: &[&str]| list.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        Choice::of(&names(enable), &names(disable), settings)
    }

    #[test]
    fn flags_name_plugins() {
        let choice = chosen(&["NodeRestriction"], &["PodSecurity", "ResourceQuota"], Settings::default()).unwrap();
        assert!(choice.has("LimitRanger") && !choice.has("PodSecurity") && !choice.has("ResourceQuota"));
        assert_eq!(Chain::new(choice).plugins.len() + 1, Chain::default().plugins.len());
        let wrong = chosen(&[], &["Everything"], Settings::default()).unwrap_err();
        assert!(wrong.starts_with("disable-admission-plugins plugin \"Everything\" is unknown"), "{wrong}");
        let both = chosen(&["PodSecurity"], &["PodSecurity"], Settings::default()).unwrap_err();
        assert_eq!(both, "[PodSecurity] in enable-admission-plugins and disable-admission-plugins overlapped");
    }

    #[test]
    fn every_plugin_can_be_named() {
        let all = BTreeSet::from(NAMES);
        assert_eq!(all.len(), NAMES.len(), "none stands there twice");
        assert!(OFF.iter().all(|name| all.contains(name)));
        let default = Chain::default().plugins.len();
        let without_work = ["AlwaysAdmit", AUTO_PROVISION, IMAGE_POLICY, EVENT_RATE];
        for name in NAMES {
            assert!(chosen(&[], &[name], Settings::default()).is_ok(), "{name}");
            let on = chosen(&[name], &[], Settings::default());
            if !OFF.contains(&name) {
                assert_eq!(Chain::new(on.unwrap()).plugins.len(), default, "{name} is on by default");
            } else if !without_work.contains(&name) {
                assert_eq!(Chain::new(on.unwrap()).plugins.len(), default + 1, "{name} is more");
            }
        }
        for (name, why) in
            [(EVENT_RATE, "limits: Invalid value: null: must not be empty"), (IMAGE_POLICY, "no config specified")]
        {
            let refused = chosen(&[name], &[], Settings::default()).unwrap_err();
            assert_eq!(refused, format!("couldn't init admission plugin \"{name}\": {why}"));
        }
        assert!(chosen(&[EVENT_RATE], &[], Settings { events: Some(Vec::new()), ..Settings::default() }).is_ok());
    }
}
