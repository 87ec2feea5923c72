//! Scenarios that share a cluster, and what every one of them uses: its namespace, pods of the toolbox image, and waiting.

use crate::common::{Cluster, PATIENCE};
use futures::future::LocalBoxFuture;
use k8s_openapi::api::core::v1::{Event, Namespace, Pod, ServiceAccount};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{AttachParams, DeleteParams, LogParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Semaphore,
};

/// What a scenario is: a name and what happens.
pub type Scenario = (&'static str, fn(Scene) -> LocalBoxFuture<'static, ()>);

/// A table of names and async functions.
macro_rules! scenarios {
    ($($name:literal => $story:ident,)*) => {
        pub fn table() -> Vec<$crate::scenes::Scenario> {
            vec![$(($name, |scene| Box::pin($story(scene)))),*]
        }
    };
}
pub(crate) use scenarios;

/// How scenarios take their turns.
#[derive(Clone, Copy, PartialEq)]
pub enum All {
    /// Each a task of its own: a scenario mostly waits.
    AtOnce,
    /// One after the other, because they change what all of them see.
    InTurn,
}

/// Plays the scenarios on a cluster, each in a namespace of its own, and fails with the story of those that failed.
/// `SCENARIO=word` plays those that have the word in their name.
pub async fn play(cluster: &Cluster, table: Vec<Scenario>, all: All) {
    let client = cluster.client().await;
    let wanted = std::env::var("SCENARIO").unwrap_or_default();
    let local = tokio::task::LocalSet::new();
    let turn = Rc::new(Semaphore::new(if all == All::AtOnce { table.len() } else { 1 }));
    let mut running = Vec::new();
    for (i, (name, story)) in table.into_iter().filter(|(name, _)| name.contains(&wanted)).enumerate() {
        let scene = Scene::new(client.clone(), &cluster.kubeconfig(), &format!("scenario-{i}"));
        let turn = turn.clone();
        running.push(local.spawn_local(async move {
            let _turn = turn.acquire().await.expect("a turn");
            one(name, story, scene).await
        }));
    }
    let (count, mut failures) = (running.len(), Vec::new());
    local
        .run_until(async {
            for task in running {
                failures.extend(task.await.expect("the task that waits"));
            }
        })
        .await;
    assert!(count > 0 || !wanted.is_empty(), "there are no scenarios");
    assert!(failures.is_empty(), "{} of {count} scenarios failed\n{}", failures.len(), failures.join("\n"));
}

/// Plays one; what is left of it if it failed.
async fn one(name: &str, story: fn(Scene) -> LocalBoxFuture<'static, ()>, scene: Scene) -> Option<String> {
    let (own, started) = (scene.clone(), Instant::now());
    let task = tokio::task::spawn_local(async move {
        own.open().await;
        tokio::time::timeout(2 * PATIENCE, story(own)).await.expect("an end");
    });
    let end = task.await;
    let took = started.elapsed().as_secs_f32();
    println!("{} {took:5.1} s  {name}", if end.is_ok() { "passed" } else { "FAILED" });
    let failure = match end {
        Ok(()) => None,
        Err(error) => {
            let panic = error.into_panic();
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
            Some(format!("=== {name}\n{text}\n{}", scene.dump().await))
        }
    };
    scene.close().await;
    failure
}

/// The image of every pod.
pub const IMAGE: &str = "ferry.local/toolbox:latest";

/// A container `c` that runs a script.
pub fn sh(script: &str) -> Value {
    json!({"name": "c", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script]})
}

/// A container of that name that runs a script.
pub fn named(name: &str, script: &str) -> Value {
    with(sh(script), json!({"name": name}))
}

/// An object with more fields, at the top level.
pub fn with(mut object: Value, more: Value) -> Value {
    for (key, value) in more.as_object().expect("an object") {
        object[key] = value.clone();
    }
    object
}

/// A pod spec of one container that never restarts.
pub fn once(container: Value) -> Value {
    json!({"restartPolicy": "Never", "containers": [container]})
}

/// A pod spec of one container that always restarts.
pub fn always(container: Value) -> Value {
    json!({"containers": [container]})
}

/// The status of a container, app or init.
pub fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let lists = ["containerStatuses", "initContainerStatuses"];
    let all = lists.iter().filter_map(|list| pod["status"][list].as_array()).flatten();
    all.into_iter().find(|c| c["name"] == name).unwrap_or(&Value::Null)
}

/// The status of a condition: `True`, `False`, or nothing where there is none.
pub fn condition<'a>(pod: &'a Value, kind: &str) -> &'a Value {
    let all = pod["status"]["conditions"].as_array().into_iter().flatten();
    all.into_iter().find(|c| c["type"] == kind).unwrap_or(&Value::Null)
}

/// Whether a pod is Ready.
pub fn ready(pod: &Value) -> bool {
    condition(pod, "Ready")["status"] == "True"
}

/// Whether a pod has ended.
pub fn over(pod: &Value) -> bool {
    pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed"
}

/// What a command in a container came to.
#[derive(Debug)]
pub struct Ran {
    pub out: String,
    pub err: String,
    pub code: i32,
}

/// A scenario's namespace.
#[derive(Clone)]
pub struct Scene {
    pub client: Client,
    pub namespace: String,
    kubeconfig: PathBuf,
}

impl Scene {
    pub fn new(client: Client, kubeconfig: &Path, namespace: &str) -> Self {
        Scene { client, namespace: namespace.to_string(), kubeconfig: kubeconfig.to_path_buf() }
    }
    /// A client whose only credential is a token.
    pub async fn with_token(&self, token: &str) -> Client {
        let config = kube::config::Kubeconfig::read_from(&self.kubeconfig).expect("a kubeconfig");
        let mut config = serde_json::to_value(config).expect("JSON");
        config["users"][0]["user"] = json!({"token": token});
        let config = serde_json::from_value(config).expect("a kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(config, &Default::default()).await.expect("a config");
        Client::try_from(config).expect("a client")
    }
    /// Makes the namespace and waits until pods may be made in it.
    pub async fn open(&self) {
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": self.namespace}})).expect("a namespace");
        let all: Api<Namespace> = Api::all(self.client.clone());
        all.create(&PostParams::default(), &namespace).await.expect("a namespace");
        let accounts = self.api::<ServiceAccount>();
        wait("the namespace's ServiceAccount", async || accounts.get_opt("default").await.ok().flatten()).await;
    }
    /// The real kubectl, in the namespace; it ends with its handle.
    #[cfg(feature = "kubectl")]
    pub fn kubectl(&self, args: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new("kubectl");
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(["--namespace", &self.namespace]).args(args);
        command.env_remove("KUBECONFIG").env("HOME", self.kubeconfig.parent().unwrap_or(Path::new("/")));
        command.kill_on_drop(true);
        command
    }
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
    /// Makes an object in the namespace.
    pub async fn make<K>(&self, object: Value) -> K
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope> + Clone + std::fmt::Debug,
        K: serde::Serialize + serde::de::DeserializeOwned,
        K::DynamicType: Default,
    {
        let object: K = serde_json::from_value(object).expect("an object of that kind");
        self.api().create(&PostParams::default(), &object).await.unwrap_or_else(|e| panic!("{object:?}: {e}"))
    }
    /// Merges into an object.
    pub async fn merge<K>(&self, name: &str, patch: Value)
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope> + Clone + std::fmt::Debug,
        K: serde::de::DeserializeOwned,
        K::DynamicType: Default,
    {
        let done = self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        done.unwrap_or_else(|e| panic!("{name}: {patch}: {e}"));
    }
    /// Makes a pod and does not wait.
    pub async fn pod(&self, name: &str, spec: Value) {
        let grace = spec.get("terminationGracePeriodSeconds").cloned().unwrap_or(1.into());
        let spec = with(spec, json!({"terminationGracePeriodSeconds": grace}));
        self.make::<Pod>(json!({"metadata": {"name": name}, "spec": spec})).await;
    }
    /// A pod as JSON.
    pub async fn get(&self, name: &str) -> Value {
        let pod = self.api::<Pod>().get(name).await.unwrap_or_else(|e| panic!("pod {name}: {e}"));
        serde_json::to_value(pod).expect("JSON")
    }
    /// Waits until a pod is so; returns what was found in it.
    pub async fn until<T>(&self, name: &str, what: &str, found: impl Fn(&Value) -> Option<T>) -> T {
        wait(&format!("pod {name}: {what}"), async || found(&self.get(name).await)).await
    }
    /// Makes a pod and waits until it is Ready.
    pub async fn ready(&self, name: &str, spec: Value) -> Value {
        self.pod(name, spec).await;
        self.until(name, "Ready", |pod| ready(pod).then(|| pod.clone())).await
    }
    /// Makes a pod and waits until it has ended.
    pub async fn run(&self, name: &str, spec: Value) -> Value {
        self.pod(name, spec).await;
        self.until(name, "its end", |pod| over(pod).then(|| pod.clone())).await
    }
    /// Makes a pod of one container, waits until it has succeeded, and returns what it said.
    pub async fn output(&self, name: &str, spec: Value) -> String {
        let pod = self.run(name, spec).await;
        let said = self.logs(name).await;
        assert_eq!(pod["status"]["phase"], "Succeeded", "{name} said {said}");
        said
    }
    /// All that its container said.
    pub async fn logs(&self, name: &str) -> String {
        self.log(name, LogParams::default()).await
    }
    pub async fn log(&self, name: &str, params: LogParams) -> String {
        self.api::<Pod>().logs(name, &params).await.unwrap_or_else(|e| panic!("logs of {name}: {e}"))
    }
    /// Runs a script in a pod's container.
    pub async fn exec(&self, name: &str, container: &str, script: &str) -> Ran {
        self.exec_with(name, &["sh", "-c", script], AttachParams::default().container(container), b"").await
    }
    /// Runs a command, with bytes for its standard input.
    pub async fn exec_with(&self, name: &str, command: &[&str], params: AttachParams, input: &[u8]) -> Ran {
        let exec = self.api::<Pod>().exec(name, command.iter().copied(), &params).await;
        let mut process = exec.unwrap_or_else(|e| panic!("exec in {name}: {e}"));
        let status = process.take_status().expect("a status");
        let (stdin, out, err) = (process.stdin(), process.stdout(), process.stderr());
        let input = async {
            if let Some(mut stdin) = stdin {
                stdin.write_all(input).await.expect("standard input");
                stdin.shutdown().await.expect("the end of standard input");
            }
        };
        let (_, out, err, status) = tokio::join!(input, all(out), all(err), status);
        process.join().await.unwrap_or_else(|e| panic!("exec in {name}: {e}"));
        let status = serde_json::to_value(status.expect("a status")).expect("JSON");
        let causes = status["details"]["causes"].as_array().into_iter().flatten();
        let code = causes.into_iter().find(|c| c["reason"] == "ExitCode").map(|c| &c["message"]);
        let code = match status["status"] == "Success" {
            true => 0,
            false => code.and_then(Value::as_str).and_then(|c| c.parse().ok()).unwrap_or_else(|| panic!("{status}")),
        };
        Ran { out, err, code }
    }
    /// Asks for a pod's end.
    pub async fn delete(&self, name: &str, params: DeleteParams) {
        self.api::<Pod>().delete(name, &params).await.unwrap_or_else(|e| panic!("pod {name}: {e}"));
    }
    /// Waits until a pod is gone.
    pub async fn gone(&self, name: &str) {
        let pods = self.api::<Pod>();
        wait(&format!("the end of {name}"), async || pods.get_opt(name).await.ok()?.is_none().then_some(())).await;
    }
    /// Removes what still runs, so that the node has room.
    pub async fn close(&self) {
        let now = DeleteParams::default().grace_period(0);
        let _ = self.api::<Pod>().delete_collection(&now, &Default::default()).await;
    }
    /// Events about a pod: `Reason: message`, in the order of their names' time.
    pub async fn events(&self) -> Vec<String> {
        let events = self.api::<Event>().list(&Default::default()).await.expect("events");
        let text = |e: &Event| {
            let name = e.involved_object.name.as_deref().unwrap_or_default();
            format!("{name} {}: {}", e.reason.as_deref().unwrap_or_default(), e.message.as_deref().unwrap_or_default())
        };
        events.items.iter().map(text).collect()
    }
    /// Everything that helps after a failure.
    pub async fn dump(&self) -> String {
        let Ok(pods) = self.api::<Pod>().list(&Default::default()).await else { return String::new() };
        let mut out = String::new();
        for pod in &pods.items {
            let name = pod.name_any();
            let status = serde_json::to_string(&pod.status).unwrap_or_default();
            out += &format!("--- pod {name}: {status}\n");
            for c in pod.spec.iter().flat_map(|s| &s.containers) {
                let params = LogParams { container: Some(c.name.clone()), tail_lines: Some(20), ..Default::default() };
                let log = self.api::<Pod>().logs(&name, &params).await.unwrap_or_else(|e| e.to_string());
                out += &format!("--- {}: {log}\n", c.name);
            }
        }
        out + &self.events().await.join("\n")
    }
}

async fn all(stream: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        stream.read_to_end(&mut bytes).await.expect("output");
    }
    String::from_utf8(bytes).expect("text")
}

/// Looks until it is there.
pub async fn wait<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}
