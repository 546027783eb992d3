//! A failure report, as reported.

/// A failure report. Texts are trimmed and unfolded, and `None` if the field is missing or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failure {
    pub feedback_type: Option<String>,
    pub version: Option<String>,
    pub user_agent: Option<String>,
    pub auth_failure: Option<String>,
    pub identity_alignment: Option<String>,
    pub delivery_result: Option<String>,
    pub authentication_results: Vec<String>,
    pub original_mail_from: Option<String>,
    pub original_rcpt_to: Vec<String>,
    pub original_envelope_id: Option<String>,
    pub source_ip: Option<String>,
    pub reported_domain: Option<String>,
    pub reporting_mta: Option<String>,
    /// `Arrival-Date`, or its synonym `Received-Date`.
    pub arrival_date: Option<String>,
    pub incidents: Option<String>,
    pub dkim_domain: Option<String>,
    pub dkim_identity: Option<String>,
    pub dkim_selector: Option<String>,
    pub spf_dns: Vec<String>,
    /// From of the original mail.
    pub from: Option<String>,
    /// Message-ID of the original mail.
    pub message_id: Option<String>,
    /// Repairs, each as `code: explanation: detail`.
    pub warnings: Vec<String>,
}
