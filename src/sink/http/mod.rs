//! `http` sink: posts batches as NDJSON or as a JSON array, and confirms them by the status of the response.

mod check;
mod request;
mod response;

use std::sync::Arc;

use futures::future::BoxFuture;

use super::{
    Frame, Sink, SinkError,
    registry::{Kind, Probe},
    request::{Outcome, Receiver, RequestSink},
};
use crate::{
    config::sink::{Codec, Credentials, Http, SinkConfig},
    net::{
        http_client::{Client, HttpError},
        token::AccessTokens,
    },
    steps::Steps,
};

/// One HTTP receiver.
struct HttpReceiver {
    config: Http,
    codec: Codec,
    client: Client,
    /// Access tokens, if `oauth` configures them.
    tokens: Option<AccessTokens>,
}

impl Kind for Http {
    fn build(&self, _: Arc<str>, config: &SinkConfig) -> Box<dyn Sink> {
        let tokens = match &self.credentials {
            Some(Credentials::Token(tokens)) => Some(AccessTokens::new(tokens.clone())),
            _ => None,
        };
        let client = Client::new(self.tls.clone(), self.connect_timeout);
        let receiver = HttpReceiver { config: self.clone(), codec: config.encoding.codec, client, tokens };
        Box::new(RequestSink::new(receiver, self.requests.clone(), &config.rate))
    }

    fn check<'a>(&'a self, steps: &'a mut Steps) -> BoxFuture<'a, Option<Probe>> {
        Box::pin(check::check(self, steps))
    }
}

impl Receiver for HttpReceiver {
    fn send<'a>(&'a self, batch: &'a [Frame]) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let request = match request::of(batch, &self.config, self.codec, self.tokens.as_ref()).await {
                Ok(request) => request,
                Err(outcome) => return outcome,
            };
            match self.client.send(request).await {
                Ok(reply) => {
                    if let Some(tokens) = self.tokens.as_ref().filter(|_| reply.status.as_u16() == 401) {
                        tokens.discard().await;
                    }
                    response::outcome(&reply, &self.config)
                }
                Err(HttpError::Configuration(text)) => Outcome::Unusable(SinkError::Configuration(text, None)),
                Err(error) => Outcome::Failed { reason: error.to_string(), after: None },
            }
        })
    }
}
