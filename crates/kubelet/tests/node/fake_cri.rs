//! A runtime without processes: containers run until the test, or their image, says otherwise.
//!
//! Images: `run` runs and ends on a stop signal with 143; `stubborn` only on SIGKILL with 137; `exit-N` ends at once with
//! N; `bad` cannot be started; `absent` cannot be pulled; `Not/An*Image` is no name.

use base::time::Timestamp;
use cri::*;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::mpsc;

#[derive(Default)]
struct State {
    counter: u64,
    sandboxes: BTreeMap<String, PodSandboxStatus>,
    containers: BTreeMap<String, (ContainerStatus, ContainerConfig)>,
    sequences: BTreeMap<String, u64>,
    acknowledged: BTreeMap<String, u64>,
    events: Vec<ContainerEvent>,
    listeners: Vec<mpsc::UnboundedSender<ContainerEvent>>,
    calls: Vec<String>,
    exec_code: i32,
}

#[derive(Clone, Default)]
pub struct FakeCri(Arc<Mutex<State>>);

fn nanos() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap()
}

impl FakeCri {
    pub fn calls(&self) -> Vec<String> {
        self.0.lock().unwrap().calls.clone()
    }
    /// The latest container of that name.
    pub fn container(&self, name: &str) -> Option<(ContainerStatus, ContainerConfig)> {
        let state = self.0.lock().unwrap();
        let of_name = state.containers.values().filter(|(s, _)| s.metadata.name == name);
        of_name.max_by_key(|(s, _)| s.metadata.attempt).cloned()
    }
    pub fn exit(&self, id: &str, code: i32) {
        self.0.lock().unwrap().exit(id, code);
    }
    /// The keeper of all sandboxes dies, and with it what runs in them.
    pub fn lose_sandboxes(&self) {
        let mut state = self.0.lock().unwrap();
        state.sandboxes.values_mut().for_each(|s| s.state = PodSandboxState::NotReady);
        let running: Vec<String> = state.containers.keys().cloned().collect();
        running.iter().for_each(|id| state.exit(id, 137));
    }
    /// What probes and hooks by exec end with.
    pub fn set_exec_code(&self, code: i32) {
        self.0.lock().unwrap().exec_code = code;
    }
    /// Everything that is left.
    pub fn left(&self) -> (usize, usize) {
        let state = self.0.lock().unwrap();
        (state.sandboxes.len(), state.containers.len())
    }
    pub fn unacknowledged(&self) -> usize {
        let state = self.0.lock().unwrap();
        state.events.iter().filter(|e| e.sequence > *state.acknowledged.get(&e.sandbox_id).unwrap_or(&0)).count()
    }
    /// Tells the last event of each container again, as after a crash.
    pub fn repeat_events(&self) {
        let state = self.0.lock().unwrap();
        for event in &state.events {
            state.listeners.iter().for_each(|l| drop(l.send(event.clone())));
        }
    }
}

impl State {
    fn emit(&mut self, id: &str, kind: ContainerEventKind, exit: Option<ContainerExit>) {
        let sandbox_id = self.containers[id].0.pod_sandbox_id.clone();
        let sequence = self.sequences.entry(sandbox_id.clone()).or_insert(0);
        *sequence += 1;
        let event =
            ContainerEvent { sequence: *sequence, container_id: id.into(), sandbox_id, kind, at: nanos(), exit };
        self.events.push(event.clone());
        self.listeners.retain(|l| l.send(event.clone()).is_ok());
    }
    fn exit(&mut self, id: &str, code: i32) {
        let Some((status, _)) = self.containers.get_mut(id) else { return };
        if status.state == ContainerState::Exited {
            return;
        }
        status.state = ContainerState::Exited;
        status.finished_at = nanos();
        status.exit_code = code;
        status.reason = if code == 0 { "Completed".into() } else { "Error".into() };
        let exit = ContainerExit { exit_code: code, reason: status.reason.clone(), message: String::new() };
        self.emit(id, ContainerEventKind::Stopped, Some(exit));
    }
    fn id(&mut self, prefix: &str) -> String {
        self.counter += 1;
        format!("{prefix}{}", self.counter)
    }
}

fn done<'a, T: Send + 'a>(result: Result<T>) -> BoxFuture<'a, Result<T>> {
    Box::pin(async move { result })
}

fn no<'a, T: Send + 'a>(what: &str) -> BoxFuture<'a, Result<T>> {
    done(Err(Error::NotFound(what.into())))
}

impl RuntimeService for FakeCri {
    fn version(&self) -> BoxFuture<'_, Result<Version>> {
        done(Ok(Version { runtime_name: "fake".into(), runtime_version: "1".into(), ..Version::default() }))
    }
    fn run_pod_sandbox<'a>(&'a self, config: &'a PodSandboxConfig) -> BoxFuture<'a, Result<String>> {
        let mut state = self.0.lock().unwrap();
        let id = state.id("s");
        state.calls.push(format!("sandbox {}#{}", config.metadata.name, config.metadata.attempt));
        let status = PodSandboxStatus {
            id: id.clone(),
            metadata: config.metadata.clone(),
            state: PodSandboxState::Ready,
            created_at: nanos(),
            ips: vec!["127.0.0.1".into()],
            labels: config.labels.clone(),
            ..PodSandboxStatus::default()
        };
        state.sandboxes.insert(id.clone(), status);
        done(Ok(id))
    }
    fn stop_pod_sandbox<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        let mut state = self.0.lock().unwrap();
        state.calls.push("stop-sandbox".into());
        if let Some(sandbox) = state.sandboxes.get_mut(id) {
            sandbox.state = PodSandboxState::NotReady;
        }
        done(Ok(()))
    }
    fn remove_pod_sandbox<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        let mut state = self.0.lock().unwrap();
        state.calls.push("remove-sandbox".into());
        state.sandboxes.remove(id);
        state.containers.retain(|_, (c, _)| c.pod_sandbox_id != id);
        done(Ok(()))
    }
    fn pod_sandbox_status<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<PodSandboxStatus>> {
        let found = self.0.lock().unwrap().sandboxes.get(id).cloned();
        done(found.ok_or_else(|| Error::NotFound(id.into())))
    }
    fn list_pod_sandbox<'a>(&'a self, _: &'a PodSandboxFilter) -> BoxFuture<'a, Result<Vec<PodSandbox>>> {
        let state = self.0.lock().unwrap();
        let list = state.sandboxes.values().map(|s| PodSandbox {
            id: s.id.clone(),
            metadata: s.metadata.clone(),
            state: s.state,
            created_at: s.created_at,
            labels: s.labels.clone(),
            ..PodSandbox::default()
        });
        done(Ok(list.collect()))
    }
    fn create_container<'a>(&'a self, sandbox: &'a str, config: &'a ContainerConfig) -> BoxFuture<'a, Result<String>> {
        let mut state = self.0.lock().unwrap();
        if state.sandboxes.get(sandbox).is_none_or(|s| s.state != PodSandboxState::Ready) {
            return done(Err(Error::FailedPrecondition(format!("pod sandbox {sandbox:?} is not ready"))));
        }
        let id = state.id("c");
        state.calls.push(format!("create {}#{}", config.metadata.name, config.metadata.attempt));
        let status = ContainerStatus {
            id: id.clone(),
            pod_sandbox_id: sandbox.into(),
            metadata: config.metadata.clone(),
            state: ContainerState::Created,
            created_at: nanos(),
            image: config.image.clone(),
            image_ref: format!("{}@sha256:0", config.image),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            ..ContainerStatus::default()
        };
        state.containers.insert(id.clone(), (status, config.clone()));
        state.emit(&id, ContainerEventKind::Created, None);
        done(Ok(id))
    }
    fn start_container<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        let mut state = self.0.lock().unwrap();
        let image = {
            let (status, config) = state.containers.get_mut(id).unwrap();
            status.state = ContainerState::Running;
            status.started_at = nanos();
            config.image.clone()
        };
        if image == "bad" {
            state.exit(id, 128);
            return done(Err(Error::Start("no such file".into())));
        }
        state.emit(id, ContainerEventKind::Started, None);
        if let Some(code) = image.strip_prefix("exit-") {
            state.exit(id, code.parse().unwrap());
        }
        done(Ok(()))
    }
    fn stop_container<'a>(&'a self, id: &'a str, timeout: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let image = {
                let mut state = self.0.lock().unwrap();
                let Some((status, config)) = state.containers.get(id).cloned() else { return Ok(()) };
                state.calls.push(format!("stop {} {}s", status.metadata.name, timeout.as_secs_f32().round()));
                config.image
            };
            if image == "stubborn" {
                tokio::time::sleep(timeout).await;
                self.exit(id, 137);
            } else {
                self.exit(id, 143);
            }
            Ok(())
        })
    }
    fn remove_container<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        self.0.lock().unwrap().containers.remove(id);
        done(Ok(()))
    }
    fn container_status<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<ContainerStatus>> {
        let found = self.0.lock().unwrap().containers.get(id).map(|(s, _)| s.clone());
        done(found.ok_or_else(|| Error::NotFound(id.into())))
    }
    fn list_containers<'a>(&'a self, _: &'a ContainerFilter) -> BoxFuture<'a, Result<Vec<Container>>> {
        let state = self.0.lock().unwrap();
        let list = state.containers.values().map(|(s, _)| Container {
            id: s.id.clone(),
            pod_sandbox_id: s.pod_sandbox_id.clone(),
            metadata: s.metadata.clone(),
            state: s.state,
            labels: s.labels.clone(),
            ..Container::default()
        });
        done(Ok(list.collect()))
    }
    fn update_pod_sandbox_resources<'a>(
        &'a self,
        _: &'a str,
        resources: &'a LinuxContainerResources,
    ) -> BoxFuture<'a, Result<()>> {
        self.0.lock().unwrap().calls.push(format!("resize pod {}", resources.cpu_shares));
        done(Ok(()))
    }
    fn update_container_resources<'a>(
        &'a self,
        id: &'a str,
        resources: &'a LinuxContainerResources,
    ) -> BoxFuture<'a, Result<()>> {
        let mut state = self.0.lock().unwrap();
        let name = state.containers[id].0.metadata.name.clone();
        state.calls.push(format!("resize {name} {}", resources.cpu_shares));
        done(Ok(()))
    }
    fn reopen_container_log<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<()>> {
        done(Ok(()))
    }
    fn exec_sync<'a>(&'a self, _: &'a str, cmd: &'a [String], _: Duration) -> BoxFuture<'a, Result<ExecSyncResponse>> {
        let mut state = self.0.lock().unwrap();
        state.calls.push(format!("exec {}", cmd.join(" ")));
        let exit_code = state.exec_code;
        done(Ok(ExecSyncResponse { exit_code, stdout: b"said no".to_vec(), ..ExecSyncResponse::default() }))
    }
    fn exec<'a>(
        &'a self,
        id: &'a str,
        cmd: &'a [String],
        options: StreamOptions,
    ) -> BoxFuture<'a, Result<ExecStreams>> {
        let _ = id;
        if cmd.first().is_some_and(|c| c == "none") {
            return done(Err(Error::Start("exec: \"none\": executable file not found in $PATH".into())));
        }
        let (stdin_sender, mut stdin) = mpsc::channel::<bytes::Bytes>(4);
        let (stdout_sender, stdout) = mpsc::channel(4);
        let (resize, _) = mpsc::channel(1);
        let (exit_sender, exit) = tokio::sync::oneshot::channel();
        let code = cmd.first().and_then(|c| c.parse().ok()).unwrap_or(0);
        tokio::spawn(async move {
            // An echo until the input ends.
            if options.stdin {
                while let Some(bytes) = stdin.recv().await {
                    let _ = stdout_sender.send(bytes).await;
                }
            } else {
                let _ = stdout_sender.send(bytes::Bytes::from_static(b"out")).await;
            }
            drop(stdout_sender);
            let _ = exit_sender.send(Ok(code));
        });
        done(Ok(ExecStreams {
            stdin: options.stdin.then_some(stdin_sender),
            stdout: Some(stdout),
            stderr: None,
            resize,
            exit,
        }))
    }
    fn attach<'a>(&'a self, id: &'a str, options: StreamOptions) -> BoxFuture<'a, Result<ExecStreams>> {
        self.exec(id, &[], options)
    }
    fn port_forward<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, Result<Box<dyn ByteStream>>> {
        let (ours, theirs) = tokio::io::duplex(1024);
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(theirs);
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        done(Ok(Box::new(ours)))
    }
    fn container_stats<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<ContainerStats>> {
        no(id)
    }
    fn list_container_stats<'a>(&'a self, _: &'a ContainerFilter) -> BoxFuture<'a, Result<Vec<ContainerStats>>> {
        done(Ok(Vec::new()))
    }
    fn events(&self) -> EventStream {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut state = self.0.lock().unwrap();
        for event in &state.events {
            if event.sequence > *state.acknowledged.get(&event.sandbox_id).unwrap_or(&0) {
                let _ = sender.send(event.clone());
            }
        }
        state.listeners.push(sender);
        receiver
    }
    fn acknowledge(&self, sandbox: &str, sequence: u64) {
        self.0.lock().unwrap().acknowledged.insert(sandbox.into(), sequence);
    }
    fn status(&self) -> BoxFuture<'_, Result<Vec<RuntimeCondition>>> {
        done(Ok(Vec::new()))
    }
}

impl ImageService for FakeCri {
    fn list_images(&self) -> BoxFuture<'_, Result<Vec<Image>>> {
        done(Ok(Vec::new()))
    }
    fn image_status<'a>(&'a self, image: &'a str) -> BoxFuture<'a, Result<Option<Image>>> {
        if image == "Not/An*Image" {
            let why = format!("couldn't parse image name {image:?}: invalid reference format");
            return done(Err(Error::Image(ImageReason::InvalidImageName, why)));
        }
        done(Ok((image != "absent").then(|| Image { id: "sha256:0".into(), ..Image::default() })))
    }
    fn pull_image<'a>(&'a self, image: &'a str, _: Option<&'a AuthConfig>) -> BoxFuture<'a, Result<String>> {
        match image {
            "absent" => done(Err(Error::Image(ImageReason::ErrImagePull, "not found".into()))),
            _ => done(Ok(image.to_string())),
        }
    }
    fn remove_image<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<()>> {
        done(Ok(()))
    }
    fn image_fs_info(&self) -> BoxFuture<'_, Result<Vec<FilesystemUsage>>> {
        done(Ok(Vec::new()))
    }
}
