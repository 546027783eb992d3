//! `tls.*`: the same options, under the same names, wherever a connection can be encrypted.

use std::path::PathBuf;

#[derive(Debug, Clone)]
pub struct Tls {
    /// PEM file of authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the client certificate and its chain.
    pub crt_file: Option<PathBuf>,
    /// PEM file of the client certificate's key.
    pub key_file: Option<PathBuf>,
    pub verify_certificate: bool,
    pub verify_hostname: bool,
    /// Name to ask for and to check instead of the host's.
    pub server_name: Option<String>,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            ca_file: None,
            crt_file: None,
            key_file: None,
            verify_certificate: true,
            verify_hostname: true,
            server_name: None,
        }
    }
}
