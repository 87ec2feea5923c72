//! `AdmissionConfiguration`: what an operator says to plugins, read and checked once before the server opens. Source:
//! `apiserver/pkg/apis/apiserver/v1` and each plugin's own types; the sentences are theirs.
//!
//! Whoever reads files is given ([`Files`]): this crate has no kubeconfig files and no YAML.

use crate::{
    dynamic::Credentials,
    event_rate::{self, By, Limit},
    image_policy, node_selector,
    pod_security::{self, Exempt, Policy},
    tolerations,
};
use auth::shape::{self, Shape, TEXTS};
use base::{FieldErrors, names};
use net::Endpoint;
use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
    time::Duration,
};
use value::Value;

/// How files are read. Errors name the file.
pub trait Files {
    /// YAML or JSON.
    fn tree(&self, path: &Path) -> Result<Value, String>;
    /// A kubeconfig file that says which server is called.
    fn server(&self, path: &Path) -> Result<Endpoint, String>;
    /// A kubeconfig file that says what is shown to whom.
    fn credentials(&self, path: &Path) -> Result<Credentials, String>;
}

/// What plugins are told; the default is upstream's.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub(crate) pod_security: pod_security::Configuration,
    /// `None`: nothing was said, with which the plugin cannot run.
    pub(crate) events: Option<Vec<Limit>>,
    pub(crate) quota: Vec<quota::Limited>,
    pub(crate) node_selectors: node_selector::PodNodeSelector,
    pub(crate) tolerations: tolerations::Restriction,
    pub(crate) image_policy: Option<image_policy::Configuration>,
    pub(crate) mutating: Credentials,
    pub(crate) validating: Credentials,
}

const PLUGIN: Shape =
    Shape::Struct(&[("name", Shape::Text), ("path", Shape::Text), ("configuration", Shape::Struct(&[]))]);

impl Settings {
    /// Reads the file of `--admission-control-config-file` and what it names.
    pub fn load(path: &Path, files: &dyn Files) -> Result<Settings, String> {
        let unable = |why| format!("unable to read admission control configuration from {path:?} [{why}]");
        let file = files.tree(path).map_err(unable)?;
        let mut settings = Settings::default();
        // Two plugins had files of their own before there was one for all.
        if file.get("apiVersion").is_none() {
            for (plugin, key) in
                [("ImagePolicyWebhook", "imagePolicy"), ("PodNodeSelector", "podNodeSelectorPluginConfig")]
            {
                if file.get(key).is_some() {
                    settings.tell(plugin, &file, files)?;
                    return Ok(settings);
                }
            }
        }
        known(&file, &["apiserver.config.k8s.io/v1", "apiserver.k8s.io/v1alpha1"], "AdmissionConfiguration")?;
        check_frame(&file)?;
        let mut told = HashSet::new();
        for plugin in file.items_at(&["plugins"]) {
            let name = plugin.str_at(&["name"]);
            // The first entry of a name counts.
            if !told.insert(name) {
                continue;
            }
            let configuration = match (plugin.get("configuration"), plugin.str_at(&["path"])) {
                (Some(own), _) if !own.is_null() => own.clone(),
                (_, "") => continue,
                (_, own) => files.tree(&beside(path, own))?,
            };
            let wrong = |why| format!("couldn't init admission plugin {name:?}: {why}");
            settings.tell(name, &configuration, files).map_err(wrong)?;
        }
        Ok(settings)
    }

    /// Reads one plugin's configuration. What is said to one that takes none is nobody's mistake upstream either.
    fn tell(&mut self, plugin: &str, said: &Value, files: &dyn Files) -> Result<(), String> {
        match plugin {
            "PodSecurity" => self.pod_security = pod_security(said)?,
            "EventRateLimit" => self.events = Some(events(said)?),
            "ResourceQuota" => self.quota = limited(said)?,
            "PodNodeSelector" => self.node_selectors = node_selectors(said)?,
            "PodTolerationRestriction" => self.tolerations = restriction(said)?,
            "ImagePolicyWebhook" => self.image_policy = Some(image_policy(said, files)?),
            "MutatingAdmissionWebhook" => self.mutating = webhooks(said, files)?,
            "ValidatingAdmissionWebhook" => self.validating = webhooks(said, files)?,
            other => tracing::warn!("the admission plugin {other:?} takes no configuration"),
        }
        Ok(())
    }
}

/// The frame without the plugins' own parts, which have shapes of their own.
fn check_frame(file: &Value) -> Result<(), String> {
    let mut frame = file.clone();
    for plugin in frame.array_at_mut(&["plugins"]).into_iter().flatten() {
        if matches!(plugin.at(&["configuration"]), Value::Object(_)) {
            plugin.set(&["configuration"], Value::object());
        }
    }
    strict(&frame, &[("plugins", Shape::List(&PLUGIN))])
}

fn strict(said: &Value, fields: &'static [(&'static str, Shape)]) -> Result<(), String> {
    let mut own = said.clone();
    own.remove(&["apiVersion"]);
    own.remove(&["kind"]);
    shape::check(&own, Shape::Struct(fields), true)
}

fn beside(path: &Path, name: &str) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).join(name)
}

fn known(said: &Value, versions: &[&str], kind: &str) -> Result<(), String> {
    let (api_version, own) = (said.str_at(&["apiVersion"]), said.str_at(&["kind"]));
    match versions.contains(&api_version) && own == kind {
        true => Ok(()),
        false => Err(format!("no kind {own:?} is registered for version {api_version:?}")),
    }
}

fn done<T>(found: T, errors: FieldErrors) -> Result<T, String> {
    if errors.is_empty() { Ok(found) } else { Err(errors.aggregate()) }
}

fn pod_security(said: &Value) -> Result<pod_security::Configuration, String> {
    const LEVELS: Shape = Shape::Struct(&[
        ("enforce", Shape::Text),
        ("enforce-version", Shape::Text),
        ("audit", Shape::Text),
        ("audit-version", Shape::Text),
        ("warn", Shape::Text),
        ("warn-version", Shape::Text),
    ]);
    const EXEMPTIONS: Shape = Shape::Struct(&[("usernames", TEXTS), ("namespaces", TEXTS), ("runtimeClasses", TEXTS)]);
    let group = |version: &str| format!("pod-security.admission.config.k8s.io/{version}");
    let versions = ["v1", "v1beta1", "v1alpha1"].map(group);
    known(said, &versions.each_ref().map(String::as_str), "PodSecurityConfiguration")?;
    strict(said, &[("defaults", LEVELS), ("exemptions", EXEMPTIONS)])?;
    let mut errors = FieldErrors::default();
    let (defaults, wrong) = Policy::configured(said.at(&["defaults"]));
    for wrong in wrong {
        errors.invalid(format!("defaults.{}", wrong.label), &wrong.value, wrong.why);
    }
    let mut list = |name: &str, check: &dyn Fn(&str) -> Result<(), String>| -> HashSet<String> {
        let mut found = HashSet::new();
        for (i, entry) in said.items_at(&["exemptions", name]).iter().enumerate() {
            let (at, text) = (format!("exemptions.{name}[{i}]"), entry.as_str().unwrap_or(""));
            match check(text) {
                Err(why) => errors.invalid(at, text, why),
                Ok(()) if !found.insert(text.to_string()) => errors.duplicate(at, text),
                Ok(()) => {}
            }
        }
        found
    };
    let named = |text: &str| if text.is_empty() { Err("username must not be empty".to_string()) } else { Ok(()) };
    let exempt = Exempt {
        namespaces: list("namespaces", &names::label),
        classes: list("runtimeClasses", &names::subdomain),
        users: list("usernames", &named),
    };
    done(pod_security::Configuration { defaults, exempt }, errors)
}

fn events(said: &Value) -> Result<Vec<Limit>, String> {
    known(said, &["eventratelimit.admission.k8s.io/v1alpha1"], "Configuration")?;
    let mut errors = FieldErrors::default();
    let list = said.items_at(&["limits"]);
    if list.is_empty() {
        errors.invalid_raw("limits", "null", "must not be empty");
    }
    let mut limits = Vec::new();
    for (i, entry) in list.iter().enumerate() {
        let at = |field: &str| format!("limits[{i}].{field}");
        let number = |field: &str| entry.at(&[field]).as_i64().unwrap_or(0);
        let (name, rate, burst, keys) = (entry.str_at(&["type"]), number("qps"), number("burst"), number("cacheSize"));
        let by = By::of(name);
        if by.is_none() {
            errors.not_supported(at("type"), name, &By::NAMES);
        }
        for (field, value) in [("burst", burst), ("qps", rate)] {
            if value <= 0 {
                errors.invalid_raw(at(field), value, "must be positive");
            }
        }
        if by != Some(By::Server) && keys < 0 {
            errors.invalid_raw(at("cacheSize"), keys, "must not be negative");
        }
        let count = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
        let keys = usize::try_from(keys).ok().filter(|keys| *keys > 0).unwrap_or(event_rate::KEYS);
        limits.extend(by.map(|by| Limit { by, rate: count(rate), burst: count(burst), keys }));
    }
    done(limits, errors)
}

fn limited(said: &Value) -> Result<Vec<quota::Limited>, String> {
    const SCOPE: Shape = Shape::Struct(&[("scopeName", Shape::Text), ("operator", Shape::Text), ("values", TEXTS)]);
    const LIMITED: Shape = Shape::Struct(&[
        ("apiGroup", Shape::Text),
        ("resource", Shape::Text),
        ("matchContains", TEXTS),
        ("matchScopes", Shape::List(&SCOPE)),
    ]);
    let old = ["v1", "v1beta1", "v1alpha1"].map(|version| format!("resourcequota.admission.k8s.io/{version}"));
    known(said, &["apiserver.config.k8s.io/v1"], "ResourceQuotaConfiguration")
        .or_else(|why| known(said, &old.each_ref().map(String::as_str), "Configuration").map_err(|_| why))?;
    strict(said, &[("limitedResources", Shape::List(&LIMITED))])?;
    let mut errors = FieldErrors::default();
    let mut limited = Vec::new();
    for (i, entry) in said.items_at(&["limitedResources"]).iter().enumerate() {
        if entry.str_at(&["resource"]).is_empty() {
            errors.required(format!("limitedResources[{i}].resource"), "");
        }
        limited.push(quota::Limited::of(entry));
    }
    done(limited, errors)
}

fn node_selectors(said: &Value) -> Result<node_selector::PodNodeSelector, String> {
    let entries = said.members_at(&["podNodeSelectorPluginConfig"]);
    let text = |(name, selector): (&str, &Value)| match selector {
        Value::Null => Ok((name.to_string(), String::new())),
        Value::String(text) => Ok((name.to_string(), text.to_string())),
        other => Err(format!(
            "cannot unmarshal {} into podNodeSelectorPluginConfig.{name} of type string",
            other.type_name()
        )),
    };
    let entries: Result<BTreeMap<_, _>, String> = entries.map(|(name, value)| text((name, value))).collect();
    Ok(node_selector::PodNodeSelector(entries?))
}

fn restriction(said: &Value) -> Result<tolerations::Restriction, String> {
    known(said, &["podtolerationrestriction.admission.k8s.io/v1alpha1"], "Configuration")?;
    let mut errors = FieldErrors::default();
    let mut list = |name: &str| -> Vec<Value> {
        let list = said.items_at(&[name]);
        for (i, toleration) in list.iter().enumerate() {
            let at = |field: &str| format!("podtolerationrestriction.{name}[{i}].{field}");
            let of = |field: &str| toleration.str_at(&[field]);
            if !of("key").is_empty()
                && let Err(why) = names::qualified_name(of("key"))
            {
                errors.invalid(at("key"), of("key"), why);
            }
            if of("key").is_empty() && of("operator") != "Exists" {
                let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
                errors.invalid(at("operator"), of("operator"), why);
            }
            if !matches!(of("operator"), "" | "Equal" | "Exists") {
                errors.not_supported(at("operator"), of("operator"), &["Equal", "Exists"]);
            }
            if !matches!(of("effect"), "" | "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
                errors.not_supported(at("effect"), of("effect"), &["NoExecute", "NoSchedule", "PreferNoSchedule"]);
            }
        }
        list.to_vec()
    };
    let (default, allowed) = (list("default"), list("whitelist"));
    done(tolerations::Restriction { default, allowed }, errors).map_err(|why| format!("invalid config: {why}"))
}

fn image_policy(said: &Value, files: &dyn Files) -> Result<image_policy::Configuration, String> {
    let own = said.at(&["imagePolicy"]);
    let time = |name: &str, field: &str, unit: u64, most: Duration, usual: Duration| -> Result<Duration, String> {
        match own.at(&[field]).as_i64().unwrap_or(0) {
            -1 => Ok(Duration::ZERO),
            0 => Ok(usual),
            given => {
                let found = u64::try_from(given).ok().and_then(|n| n.checked_mul(unit)).map(Duration::from_millis);
                found
                    .filter(|time| *time <= most)
                    .ok_or_else(|| format!("{name}: {field} must be at most {most:?}, got {given}"))
            }
        }
    };
    let (half_hour, minutes) = (Duration::from_secs(1800), |n: u64| Duration::from_secs(60 * n));
    Ok(image_policy::Configuration {
        backoff: time("backoff", "retryBackoff", 1, minutes(5), Duration::from_millis(500))?,
        allowed: time("allow cache", "allowTTL", 1000, half_hour, minutes(5))?,
        denied: time("deny cache", "denyTTL", 1000, half_hour, Duration::from_secs(30))?,
        default_allow: own.at(&["defaultAllow"]).as_bool() == Some(true),
        endpoint: files.server(Path::new(own.str_at(&["kubeConfigFile"])))?,
    })
}

fn webhooks(said: &Value, files: &dyn Files) -> Result<Credentials, String> {
    known(said, &["apiserver.config.k8s.io/v1"], "WebhookAdmissionConfiguration")
        .or_else(|why| known(said, &["apiserver.config.k8s.io/v1alpha1"], "WebhookAdmission").map_err(|_| why))?;
    strict(said, &[("kubeConfigFile", Shape::Text), ("staticManifestsDir", Shape::Text)])?;
    if !said.str_at(&["staticManifestsDir"]).is_empty() {
        return Err(
            "staticManifestsDir: Forbidden: webhooks from files are an alpha feature, which this server has not".into(),
        );
    }
    match said.str_at(&["kubeConfigFile"]) {
        "" => Ok(Credentials::default()),
        path if Path::new(path).is_absolute() => files.credentials(Path::new(path)),
        path => Err(format!("kubeConfigFile: Invalid value: {path:?}: must be an absolute file path")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    /// Files by name.
    struct Given(Vec<(&'static str, Value)>);

    impl Files for Given {
        fn tree(&self, path: &Path) -> Result<Value, String> {
            let found = self.0.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, tree)| tree.clone()).ok_or_else(|| format!("{}: not there", path.display()))
        }
        fn server(&self, path: &Path) -> Result<Endpoint, String> {
            let url = format!("https://{}", path.display());
            Ok(Endpoint { url, trust: net::Trust::System, identity: None, headers: http::HeaderMap::new() })
        }
        fn credentials(&self, path: &Path) -> Result<Credentials, String> {
            let users = BTreeMap::from([(path.display().to_string(), Default::default())]);
            Ok(Credentials { users, current: None })
        }
    }

    fn load(plugins: Value) -> Result<Settings, String> {
        let file =
            value!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": plugins});
        let events = value!({"apiVersion": "eventratelimit.admission.k8s.io/v1alpha1", "kind": "Configuration",
            "limits": [{"type": "User", "qps": 5, "burst": 10}]});
        Settings::load(Path::new("/etc/a.yaml"), &Given(vec![("/etc/a.yaml", file), ("/etc/events.yaml", events)]))
    }

    fn one(name: &str, configuration: Value) -> Result<Settings, String> {
        load(value!([{"name": name, "configuration": configuration}]))
    }

    #[test]
    fn what_plugins_are_told() {
        let none = Settings::load(Path::new("/none"), &Given(Vec::new())).unwrap_err();
        assert_eq!(none, "unable to read admission control configuration from \"/none\" [/none: not there]");
        let read = load(value!([{"name": "EventRateLimit", "path": "events.yaml"}, {"name": "PodSecurity"}])).unwrap();
        assert_eq!(read.events, Some(vec![Limit { by: By::User, rate: 5, burst: 10, keys: 4096 }]));
        let api = "pod-security.admission.config.k8s.io/v1";
        let said = value!({"apiVersion": api, "kind": "PodSecurityConfiguration", "defaults": {"enforce": "baseline",
            "enforce-version": "v1.30"}, "exemptions": {"namespaces": ["kube-system"]}});
        let read = one("PodSecurity", said).unwrap().pod_security;
        assert_eq!(read.defaults.enforce.to_string(), "baseline:v1.30");
        assert!(read.exempt.namespaces.contains("kube-system"));
        let images =
            value!({"imagePolicy": {"kubeConfigFile": "k", "allowTTL": 7, "denyTTL": -1, "defaultAllow": true}});
        let read = one("ImagePolicyWebhook", images.clone()).unwrap().image_policy.unwrap();
        assert_eq!((read.allowed.as_secs(), read.denied.as_secs(), read.backoff.as_millis()), (7, 0, 500));
        assert!(read.default_allow && read.endpoint.url == "https://k");
        let hooks = value!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "WebhookAdmissionConfiguration", "kubeConfigFile": "/k"});
        let read = one("ValidatingAdmissionWebhook", hooks).unwrap();
        assert!(read.validating.users.contains_key("/k") && read.mutating.users.is_empty());
        // Files from before there was one for all plugins.
        let old = Settings::load(Path::new("/old"), &Given(vec![("/old", images)])).unwrap();
        assert!(old.image_policy.is_some());
        let selectors = value!({"podNodeSelectorPluginConfig": {"dev": "a=b", "ops": null}});
        let old = Settings::load(Path::new("/old"), &Given(vec![("/old", selectors)])).unwrap();
        assert_eq!(old.node_selectors.0["dev"], "a=b");
    }

    #[test]
    fn what_is_refused() {
        let events = |limits: Value| value!({"apiVersion": "eventratelimit.admission.k8s.io/v1alpha1", "kind": "Configuration", "limits": limits});
        let security = |field: &str, value: Value| {
            let mut said =
                value!({"apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration"});
            said.set(&field.split('.').collect::<Vec<_>>(), value);
            said
        };
        let webhooks = |fields: Value| {
            let mut said = fields;
            said.set(&["apiVersion"], "apiserver.config.k8s.io/v1");
            said.set(&["kind"], "WebhookAdmissionConfiguration");
            said
        };
        for (plugin, said, want) in [
            ("EventRateLimit", value!({}), "no kind \"\" is registered for version \"\""),
            ("EventRateLimit", events(value!([])), "limits: Invalid value: null: must not be empty"),
            (
                "EventRateLimit",
                events(value!([{"type": "Host", "burst": 1}])),
                "[limits[0].type: Unsupported value: \"Host\": supported values: \"Namespace\", \"Server\", \"SourceAndObject\", \"User\", limits[0].qps: Invalid value: 0: must be positive]",
            ),
            (
                "PodSecurity",
                security("default.enforce", "baseline".into()),
                "strict decoding error: unknown field \"default\"",
            ),
            (
                "PodSecurity",
                security("defaults.enforce", "strict".into()),
                "defaults.enforce: Invalid value: \"strict\": must be one of privileged, baseline, restricted",
            ),
            (
                "PodSecurity",
                security("exemptions.usernames", value!(["a", "a", ""])),
                "[exemptions.usernames[1]: Duplicate value: \"a\", exemptions.usernames[2]: Invalid value: \"\": username must not be empty]",
            ),
            (
                "PodTolerationRestriction",
                value!({"apiVersion": "podtolerationrestriction.admission.k8s.io/v1alpha1", "kind": "Configuration", "default": [{"operator": "Exists", "effect": "Never"}]}),
                "invalid config: podtolerationrestriction.default[0].effect: Unsupported value: \"Never\": supported values: \"NoExecute\", \"NoSchedule\", \"PreferNoSchedule\"",
            ),
            (
                "MutatingAdmissionWebhook",
                webhooks(value!({"kubeConfigFile": "k"})),
                "kubeConfigFile: Invalid value: \"k\": must be an absolute file path",
            ),
            (
                "ResourceQuota",
                value!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "ResourceQuotaConfiguration", "limitedResources": [{"apiGroup": "apps"}]}),
                "limitedResources[0].resource: Required value",
            ),
        ] {
            let refused = one(plugin, said).err().unwrap_or_default();
            assert_eq!(refused, format!("couldn't init admission plugin {plugin:?}: {want}"));
        }
        let stray = load(value!([{"nam": "PodSecurity"}])).unwrap_err();
        assert_eq!(stray, "strict decoding error: unknown field \"plugins[0].nam\"");
    }
}
