//! Opening a session: connection, TLS or STARTTLS, greeting, login.

use std::sync::Arc;

use async_imap::imap_proto::{Response, Status};
use tokio::{net::TcpStream, time::timeout};

use super::{
    auth::{self, credentials::Account},
    response_limits::Allowance,
    server_texts::throttled,
    session::{Session, out_of_step, status_text},
};
use crate::{
    config::source::{Imap, Security},
    net::{
        Wire,
        connect::connect,
        tls::{self, Encryption},
    },
    source::imap::error::Fault,
};

impl Session {
    /// Connects, encrypts, and logs in.
    pub async fn open(config: &Imap, account: Arc<Account>) -> Result<Self, Fault> {
        let tcp = connect(&config.host, config.port, config.connect_timeout).await?;
        let mut session = Self::over_tcp(config, account, tcp).await?.greeted(config).await?;
        session.log_in(config).await?;
        Ok(session)
    }

    /// Wraps a TCP connection; performs the TLS handshake if the connection uses implicit TLS.
    pub async fn over_tcp(config: &Imap, account: Arc<Account>, tcp: TcpStream) -> Result<Self, Fault> {
        account.begin_login();
        if config.security != Security::Tls {
            return Ok(Self::over(config, account, Box::new(tcp)));
        }
        let (wire, encryption) = encrypt(config, Box::new(tcp)).await?;
        let mut session = Self::over(config, account, wire);
        session.encryption = Some(encryption);
        Ok(session)
    }

    /// Reads the greeting and the capabilities; performs STARTTLS if configured.
    pub async fn greeted(mut self, config: &Imap) -> Result<Self, Fault> {
        self.is_preauth = self.greet().await?;
        if config.security == Security::Starttls {
            self = self.start_tls(config).await?;
        }
        if self.capabilities.is_empty() {
            self.ask_capabilities().await?;
        }
        Ok(self)
    }

    /// Logs in, and returns the name of the mechanism; `None` if the server sent PREAUTH.
    pub async fn log_in(&mut self, config: &Imap) -> Result<Option<&'static str>, Fault> {
        if self.is_preauth {
            return Ok(None);
        }
        let account = self.account.clone();
        self.has_capabilities = false;
        let method = auth::login(self, config, &account).await?;
        self.logged_in = true;
        // Capabilities change with the login; often MOVE is only offered after it.
        if !self.has_capabilities {
            self.ask_capabilities().await?;
        }
        Ok(Some(method))
    }

    /// Reads the greeting; true if it is PREAUTH.
    async fn greet(&mut self) -> Result<bool, Fault> {
        self.grant(Allowance::LITTLE);
        let greeting = self.read(|response| match response {
            Response::Data { status: Status::Ok, .. } => Some(Ok(false)),
            Response::Data { status: Status::PreAuth, .. } => Some(Ok(true)),
            Response::Data { outcome, .. } => Some(Err(status_text(outcome))),
            _ => None,
        });
        let greeting = greeting.await?;
        self.revoke(Allowance::LITTLE);
        match greeting {
            Some(Ok(known)) => Ok(known),
            Some(Err(said)) => Err(throttled(&self.host, &said)
                .unwrap_or_else(|| Fault::Lost(format!("{} refused the connection: {}", self.host, said.shown())))),
            None => Err(out_of_step("a response that is no greeting")),
        }
    }

    /// Performs STARTTLS (RFC 3501 section 6.2.1). Everything the server sent before is discarded: anyone on the network
    /// could have sent it.
    async fn start_tls(mut self, config: &Imap) -> Result<Self, Fault> {
        if self.is_preauth {
            return Err(Fault::Lost(format!(
                "{} treats the session as logged in before STARTTLS; set security: tls and its port",
                self.host
            )));
        }
        if self.capabilities.is_empty() {
            self.ask_capabilities().await?;
        }
        if !self.offers("STARTTLS") {
            return Err(Fault::Lost(format!(
                "{} offers no STARTTLS on port {}; set security: tls (port 993), or none where plain text is meant",
                self.host, config.port
            )));
        }
        self.command("STARTTLS", |_| ()).await?;
        let Some(wire) = self.client.into_inner().into_wire() else {
            return Err(Fault::Lost(format!(
                "{} sent data between STARTTLS and the handshake, as an attacker in between would",
                self.host
            )));
        };
        let (wire, encryption) = encrypt(config, wire).await?;
        let mut session = Self::over(config, self.account, wire);
        session.encryption = Some(encryption);
        session.ask_capabilities().await?;
        Ok(session)
    }

    async fn ask_capabilities(&mut self) -> Result<(), Fault> {
        self.command("CAPABILITY", |_| ()).await.map(drop)
    }
}

async fn encrypt(config: &Imap, wire: Box<dyn Wire>) -> Result<(Box<dyn Wire>, Encryption), Fault> {
    match timeout(config.connect_timeout, tls::handshake(&config.tls, &config.host, wire)).await {
        Ok(stream) => {
            let stream = stream?;
            let encryption = Encryption::of(&stream);
            Ok((Box::new(stream), encryption))
        }
        Err(_) => Err(Fault::Lost(format!(
            "the TLS handshake with {} took longer than {:?} (connect_timeout)",
            config.host, config.connect_timeout
        ))),
    }
}
