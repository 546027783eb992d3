//! An SMTP TLS report and its rows, as reported.

/// A report without its rows. Texts are trimmed, and `None` if the key is missing, null or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsRpt {
    pub organization_name: Option<String>,
    pub contact_info: Option<String>,
    pub report_id: Option<String>,
    pub begin: Option<String>,
    pub end: Option<String>,
    /// In the order of the report; rows refer to their indexes.
    pub policies: Vec<PolicyName>,
    /// `TLS-Report-Domain` and `TLS-Report-Submitter` of the mail, for policies without a domain, and for a report without
    /// organization-name.
    pub mail_domain: Option<String>,
    pub mail_submitter: Option<String>,
    /// Repairs, each as `code: explanation: detail`.
    pub warnings: Vec<String>,
}

/// Type and domain of a policy, which distinguish it from the report's others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyName {
    pub policy_type: Option<String>,
    pub domain: Option<String>,
}

/// A row: a policy, or one kind of failure under it. Failures precede their policy, which ends after them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsRow {
    Policy(TlsPolicy),
    Failure(TlsFailure),
}

/// One of `policies`: the policy, and the numbers of sessions under it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsPolicy {
    /// Index among the report's policies, from 0.
    pub index: usize,
    pub strings: Vec<String>,
    pub mx_hosts: Vec<String>,
    pub successful: Option<String>,
    pub failed: Option<String>,
}

/// One of `failure-details`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFailure {
    /// Index of its policy, from 0.
    pub policy: usize,
    /// Index among the failures of its policy, from 0.
    pub index: u64,
    pub result_type: Option<String>,
    pub sending_mta_ip: Option<String>,
    pub receiving_mx_hostname: Option<String>,
    pub receiving_mx_helo: Option<String>,
    pub receiving_ip: Option<String>,
    pub failed: Option<String>,
    pub additional_information: Option<String>,
    pub reason_code: Option<String>,
}
