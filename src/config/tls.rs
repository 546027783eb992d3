//! `tls.*`: TLS options, the same for every connection that can be encrypted.

use std::path::PathBuf;

use super::{decode::View, options::options, secret};

options! {
    #[derive(Debug, Clone)]
    pub struct Tls: Default {
        /// PEM file of certificate authorities to trust instead of the system's.
        pub ca_file: Option<PathBuf> = None,
        /// PEM file of the client certificate and its chain; needs `tls.key_file`.
        pub crt_file: Option<PathBuf> = None,
        /// PEM file of the client certificate's private key; needs `tls.crt_file`.
        let key("key_file"): Option<PathBuf> = None,
        /// PEM file of the client certificate's private key.
        pub key_file: Option<PathBuf> = from |view| with_its_certificate(view, key),
        /// `false` accepts any certificate at all.
        pub verify_certificate: bool = true,
        /// `false` accepts a certificate for another host name.
        pub verify_hostname: bool = true,
        /// Server name for SNI and verification, instead of the host.
        pub server_name: Option<String> = None,
    }
}

/// Checks that certificate and key are both set, or neither.
fn with_its_certificate(view: &View<'_>, key: Option<PathBuf>) -> Option<Option<PathBuf>> {
    match (view.has("crt_file"), view.has("key_file")) {
        (true, false) => {
            view.problem("crt_file", "needs tls.key_file, the private key of this certificate");
            None
        }
        (false, true) => {
            view.problem("key_file", "needs tls.crt_file, the certificate of this key");
            None
        }
        _ => {
            if let Some(key) = &key {
                secret::warn_of(view, "key_file", key);
            }
            Some(key)
        }
    }
}
