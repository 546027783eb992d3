//! TLS client: trusted certificates, the client's own, and helpful errors.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, ClientConfig, DigitallySignedStruct, ProtocolVersion, RootCertStore, SignatureScheme,
        client::{
            ResolvesClientCert, WebPkiServerVerifier,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        },
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
        sign::CertifiedKey,
    },
};

use x509_cert::{Certificate, der::Decode};

use super::Cause;
use crate::{
    config::{secret::read_bytes, tls::Tls},
    ops::metrics::CERTIFICATE_EXPIRY,
};

/// Error in setting up an encrypted connection.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of the configuration can't be used; a retry can't help until it is fixed.
    #[error("{text}")]
    Configuration {
        text: String,
        #[source]
        cause: Option<Cause>,
    },
    /// The peer can't be trusted, or does not speak TLS as expected.
    #[error("{text}")]
    Handshake {
        text: String,
        #[source]
        cause: io::Error,
    },
}

impl TlsError {
    /// Error about the configuration, of which `cause` is the last part.
    fn configuration(what: &str, cause: impl Into<Cause>) -> Self {
        let cause = cause.into();
        Self::Configuration { text: format!("{what}: {cause}"), cause: Some(cause) }
    }
}

/// Reads the certificate files and makes the configuration for one connection. Called before every handshake, so that
/// renewed files are used without a restart.
pub fn client_config(tls: &Tls) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::configuration("can't set TLS up", error))?;
    let roots = Arc::new(roots(tls.ca_file.as_deref())?);
    let web = WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(|error| TlsError::configuration("can't use the trusted certificates", error))?;
    let verifier = Verifier { web, certificate: tls.verify_certificate, hostname: tls.verify_hostname };
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let config = match (&tls.crt_file, &tls.key_file) {
        (Some(certificates), Some(key)) => {
            builder.with_client_auth_cert(certificates_in(certificates)?, key_in(key)?).map_err(|error| {
                TlsError::configuration(&format!("can't use {} with {}", certificates.display(), key.display()), error)
            })?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// Does the handshake over `stream` as a client of `host`, or of `tls.server_name` if it is set.
pub async fn handshake<S>(tls: &Tls, host: &str, stream: S) -> Result<TlsStream<S>, TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    handshake_noting(tls, host, stream).await.map(|(stream, _)| stream)
}

/// As [`handshake`]; also returns whether the server asked for a client certificate. A server that did may refuse the
/// certificate after the handshake, which on TLS 1.3 ends for the client before the server has seen the certificate.
pub async fn handshake_noting<S>(tls: &Tls, host: &str, stream: S) -> Result<(TlsStream<S>, bool), TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    connected(tls, host, stream, &[]).await
}

/// As [`handshake`]; offers these application protocols, such as `h2` (ALPN, RFC 7301), the preferred one first.
pub async fn handshake_offering<S>(
    tls: &Tls,
    host: &str,
    stream: S,
    protocols: &[&[u8]],
) -> Result<TlsStream<S>, TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    connected(tls, host, stream, protocols).await.map(|(stream, _)| stream)
}

async fn connected<S>(tls: &Tls, host: &str, stream: S, protocols: &[&[u8]]) -> Result<(TlsStream<S>, bool), TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut config = ClientConfig::clone(&*client_config(tls)?);
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let noting = Arc::new(Noting { certificates: config.client_auth_cert_resolver, asked: AtomicBool::new(false) });
    config.client_auth_cert_resolver = noting.clone();
    let name = tls.server_name.as_deref().unwrap_or(host).trim_start_matches('[').trim_end_matches(']');
    let server = ServerName::try_from(name.to_owned()).map_err(|error| TlsError::Configuration {
        text: format!("{name:?} is not a host name to verify a certificate for"),
        cause: Some(error.into()),
    })?;
    let connected = TlsConnector::from(Arc::new(config)).connect(server, stream).await;
    let stream = connected.map_err(|error| explain(error, name, tls.crt_file.is_some()))?;
    note_expiry(&stream, name);
    Ok((stream, noting.asked.load(Ordering::Relaxed)))
}

/// Result of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encryption {
    /// Protocol version, such as `TLS 1.3`.
    pub version: &'static str,
    /// Expiry of the server's certificate; `None` if it can't be parsed, and was not checked.
    pub until: Option<Timestamp>,
}

impl Encryption {
    pub fn of<S>(stream: &TlsStream<S>) -> Self {
        let version = match stream.get_ref().1.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS",
        };
        let until = expiry(stream).and_then(|until| Timestamp::from_second(i64::try_from(until.as_secs()).ok()?).ok());
        Self { version, until }
    }
}

/// Records the expiry of the server's certificate in the metrics; one that can't be parsed was not checked either.
fn note_expiry<S>(stream: &TlsStream<S>, name: &str) {
    if let Some(until) = expiry(stream) {
        CERTIFICATE_EXPIRY.with_label_values(&[name]).set(until.as_secs_f64());
    }
}

/// Returns the expiry of the server's certificate, as the time since 1970.
fn expiry<S>(stream: &TlsStream<S>) -> Option<Duration> {
    let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first())?;
    let leaf = Certificate::from_der(leaf).ok()?;
    Some(leaf.tbs_certificate().validity().not_after.to_unix_duration())
}

/// The client's certificates, and a flag that the server asked for one.
#[derive(Debug)]
struct Noting {
    certificates: Arc<dyn ResolvesClientCert>,
    asked: AtomicBool,
}

impl ResolvesClientCert for Noting {
    fn resolve(&self, issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.certificates.resolve(issuers, schemes)
    }

    fn has_certs(&self) -> bool {
        self.certificates.has_certs()
    }
}

/// Describes the error, and what to do about it. `has_certificate`: a client certificate is configured.
fn explain(error: io::Error, name: &str, has_certificate: bool) -> TlsError {
    use rustls::{AlertDescription, CertificateError as Bad, Error, PeerIncompatible};
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let text = match inner {
        Some(Error::InvalidCertificate(bad)) => match bad {
            // An authority of the same name with another key makes a "bad" signature.
            Bad::UnknownIssuer | Bad::BadSignature => format!(
                "the certificate of {name} is not signed by a trusted authority; \
                 name the authority's PEM file in tls.ca_file"
            ),
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => format!(
                "the certificate of the server is not for the name {name} ({bad}); \
                 set tls.server_name to a name that is in it"
            ),
            Bad::Expired | Bad::ExpiredContext { .. } => {
                format!("the certificate of {name} has expired ({bad}); the server needs a new one")
            }
            // webpki's own error, of which rustls passes on only the text.
            Bad::Other(why) if why.to_string().contains("CaUsedAsEndEntity") => format!(
                "the certificate of {name} is a CA certificate (CA:TRUE, as `openssl req -x509` creates them), which \
                 a server must not use; give the server one signed by the CA, or a self-signed one with \
                 basicConstraints=CA:FALSE, named in tls.ca_file"
            ),
            _ => format!("the certificate of {name} can't be trusted: {bad}"),
        },
        Some(
            Error::AlertReceived(AlertDescription::ProtocolVersion)
            | Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13),
        ) => format!(
            "{name} supports only TLS versions below 1.2, which are insecure (RFC 8996) and not supported; enable \
             TLS 1.2 on the server"
        ),
        Some(Error::AlertReceived(alert)) if has_certificate => format!(
            "{name} ended the TLS handshake with the alert {alert:?}; \
             check in its log whether it accepts the client certificate of tls.crt_file"
        ),
        Some(Error::AlertReceived(alert)) => format!(
            "{name} ended the TLS handshake with the alert {alert:?}; \
             if it requests a client certificate, set tls.crt_file and tls.key_file"
        ),
        Some(Error::InvalidMessage(_)) => {
            format!("{name} does not speak TLS on this port; check the port, or use STARTTLS")
        }
        _ => format!("the TLS handshake with {name} failed: {error}"),
    };
    TlsError::Handshake { text, cause: error }
}

/// Returns the authorities to trust: those of the given file, or the system's, or if the system has none, Mozilla's
/// built-in list.
fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        for certificate in certificates_in(path)? {
            roots.add(certificate).map_err(|error| {
                TlsError::configuration(&format!("can't use a certificate in {}", path.display()), error)
            })?;
        }
        return Ok(roots);
    }
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    Ok(roots)
}

fn certificates_in(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let what = format!("can't read certificates from {}", path.display());
    let bytes = read_bytes(path).map_err(|error| TlsError::configuration(&what, error))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| TlsError::configuration(&what, error))?;
    match found.is_empty() {
        true => Err(TlsError::Configuration { text: format!("{what}: no PEM certificate found"), cause: None }),
        false => Ok(found),
    }
}

fn key_in(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let what = format!("can't read an unencrypted PEM private key from {}", path.display());
    let bytes = read_bytes(path).map_err(|error| TlsError::configuration(&what, error))?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| TlsError::configuration(&what, error))
}

/// The usual verifier, with the check of the certificate or of its host name switched off by the user.
#[derive(Debug)]
struct Verifier {
    web: Arc<WebPkiServerVerifier>,
    certificate: bool,
    hostname: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::{CertificateError as Bad, Error};
        if !self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        match self.web.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // webpki checks the name last: a certificate that gets this far is trusted except for the name.
            Err(Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }))
                if !self.hostname =>
            {
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.web.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.web.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.web.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn errors_of_certificate_files_and_handshakes_keep_their_source() {
        let tls = Tls { ca_file: Some("/nowhere/ca.pem".into()), ..Tls::default() };
        let error = client_config(&tls).unwrap_err();
        let source = error.source().expect("the file can't be read").to_string();
        assert!(error.to_string().ends_with(&format!("/nowhere/ca.pem: {source}")), "{error}");

        let expired = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let error = explain(io::Error::other(expired.clone()), "siem", false);
        assert!(error.to_string().starts_with("the certificate of siem has expired"), "{error}");
        let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>()).expect("of the handshake");
        assert_eq!(cause.get_ref().and_then(|inner| inner.downcast_ref()), Some(&expired));
    }

    #[test]
    fn a_refused_client_certificate_is_named_only_if_one_is_set() {
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateUnknown);
        let told = |has_certificate| explain(io::Error::other(alert.clone()), "siem", has_certificate).to_string();
        assert!(told(true).ends_with("whether it accepts the client certificate of tls.crt_file"), "{}", told(true));
        assert!(told(false).ends_with("set tls.crt_file and tls.key_file"), "{}", told(false));
    }
}
