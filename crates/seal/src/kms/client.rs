//! Calls to one plugin.

use super::{
    Surroundings,
    proto::{
        DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, EncryptedObject, StatusRequest,
        StatusResponse,
    },
};
use crate::config;
use grpc::{Channel, Code, Endpoint, Status};
use prost::Message;
use std::time::{Duration, Instant};

/// How soon a plugin that does not listen yet is dialled again.
const AGAIN: Duration = Duration::from_millis(100);

/// A plugin's address. Clones share its connection.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    name: String,
    timeout: Duration,
    around: Surroundings,
}

impl Client {
    pub fn new(config: &config::Kms, around: Surroundings) -> Result<Self, String> {
        let endpoint = match config.endpoint.strip_prefix("unix:///@") {
            // A socket without a file; the kernel knows its name by a NUL in front.
            Some(name) => Endpoint::Unix(format!("\0{name}").into()),
            None => Endpoint::parse(&config.endpoint, None).map_err(|e| e.to_string())?,
        };
        Ok(Client { channel: Channel::new(endpoint), name: config.name.clone(), timeout: config.timeout.get(), around })
    }

    pub async fn status(&self) -> Result<StatusResponse, String> {
        self.call("/v2.KeyManagementService/Status", StatusRequest {}).await
    }
    pub async fn encrypt(&self, uid: &str, plain: &[u8]) -> Result<EncryptResponse, String> {
        let request = EncryptRequest { plaintext: plain.into(), uid: uid.into() };
        self.call("/v2.KeyManagementService/Encrypt", request).await
    }
    /// The plaintext of an object's DEK source. Waits without awaiting, as long as a call may take.
    pub fn decrypt_blocking(&self, object: &EncryptedObject) -> Result<Vec<u8>, String> {
        let request = DecryptRequest {
            ciphertext: object.encrypted_dek_source.clone(),
            uid: base::ids::uid(),
            key_id: object.key_id.clone(),
            annotations: object.annotations.clone(),
        };
        let own = self.clone();
        let asked = self.around.worker.wait(
            async move { own.call::<_, DecryptResponse>("/v2.KeyManagementService/Decrypt", request).await },
            self.timeout + Duration::from_secs(1),
        );
        let answer = asked.unwrap_or_else(|| Err("the plugin's thread does not answer".into()));
        answer.map(|found| found.plaintext).map_err(|why| format!("failed to decrypt DEK, error: {why}"))
    }

    /// One call, on the worker's thread: connections live there. A plugin that does not listen is waited for.
    async fn call<M, R>(&self, path: &'static str, message: M) -> Result<R, String>
    where
        M: Message + Clone + 'static,
        R: Message + Default + Send + Sync + 'static,
    {
        let own = self.clone();
        let calling = async move {
            let start = Instant::now();
            let answer = loop {
                let left = own.timeout.saturating_sub(start.elapsed());
                match grpc::unary(&own.channel, path, message.clone(), left).await {
                    Err(status) if status.code() == Code::Unavailable && left > AGAIN => {
                        tokio::time::sleep(AGAIN).await;
                    }
                    answer => break answer,
                }
            };
            let code = answer.as_ref().err().map_or(Code::Ok, Status::code);
            own.around.metrics.called(&own.name, path, code_name(code), start.elapsed());
            answer.map_err(|status| format!("rpc error: code = {} desc = {}", code_name(code), status.message()))
        };
        match self.around.worker.spawn(calling).await {
            Ok(answer) => answer,
            Err(_) => Err("the server is stopping".into()),
        }
    }
}

/// As gRPC's Go library prints it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}
