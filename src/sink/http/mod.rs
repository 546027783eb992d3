//! `http` sink: posts batches as NDJSON or as a JSON array, and confirms them by the status of the response.

mod authorization;
mod check;
mod request;
mod response;

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use hyper::StatusCode;

use super::{
    Frame, Sink, SinkError,
    registry::{Kind, Probe},
    request::{Outcome, Receiver, RequestSink},
};
use crate::{
    config::sink::{Codec, Http, SinkConfig},
    net::http_client::{Client, HttpError},
    steps::Steps,
};

use authorization::Authorization;

/// Time for the body of a response, of which only errors quote the beginning. The status decides; a body that never ends must
/// not make a success of it a failure.
const BODY_TIME: Duration = Duration::from_millis(500);

/// One HTTP receiver.
struct HttpReceiver {
    config: Http,
    codec: Codec,
    client: Client,
    authorization: Option<Authorization>,
}

impl Kind for Http {
    fn build(&self, _: Arc<str>, config: &SinkConfig) -> Box<dyn Sink> {
        let authorization = self.credentials.clone().map(Authorization::new);
        let client = Client::new(self.tls.clone(), self.connect_timeout);
        let receiver = HttpReceiver { config: self.clone(), codec: config.encoding.codec, client, authorization };
        Box::new(RequestSink::new(receiver, self.requests.clone(), &config.rate))
    }

    fn check<'a>(&'a self, steps: &'a mut Steps) -> BoxFuture<'a, Option<Probe>> {
        Box::pin(check::check(self, steps))
    }
}

impl Receiver for HttpReceiver {
    fn send<'a>(&'a self, batch: &'a [Frame]) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let authorization = self.authorization.as_ref();
            let request = match request::of(batch, &self.config, self.codec, authorization).await {
                Ok(request) => request,
                Err(reason) => return Outcome::Failed { reason, after: None },
            };
            match self.client.send(request, BODY_TIME).await {
                Ok(reply) => {
                    if let Some(authorization) = authorization.filter(|_| reply.status == StatusCode::UNAUTHORIZED) {
                        authorization.refused().await;
                    }
                    response::outcome(&reply, &self.config)
                }
                Err(HttpError::Configuration(text)) => Outcome::Unusable(SinkError::Configuration(text, None)),
                Err(error) => Outcome::Failed { reason: error.to_string(), after: None },
            }
        })
    }
}
