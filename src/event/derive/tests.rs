use super::*;

fn dkim(domain: &str, result: &str) -> DkimAuth {
    DkimAuth { domain: Some(domain.into()), result: Some(result.into()), ..Default::default() }
}

fn spf(scope: Option<&str>, domain: &str, result: &str) -> SpfAuth {
    SpfAuth {
        domain: Some(domain.into()),
        scope: scope.map(str::to_owned),
        result: Some(result.into()),
        ..Default::default()
    }
}

fn reason(kind: &str, comment: &str) -> Override {
    Override { kind: Some(kind.into()), comment: Some(comment.into()) }
}

/// RFC 7489 appendix B.1.1 (SPF) and B.1.2 (DKIM), examples 1 to 3: authenticated domain, From domain, relaxed, strict.
#[test]
fn alignment_is_that_of_the_rfc_examples() {
    for (domain, header_from, relaxed, strict) in [
        ("example.com", "example.com", true, true),
        ("example.com", "child.example.com", true, false),
        ("child.example.com", "example.com", true, false),
        ("sample.net", "child.example.com", false, false),
        // Section 3.1.1: "news.example.com" signed by "example.com"; and a bare top-level domain is aligned with no domain.
        ("example.com", "news.example.com", true, false),
        ("com", "example.com", false, false),
    ] {
        assert_eq!(aligned(domain, header_from, Mode::Relaxed), Some(relaxed), "{domain} {header_from}");
        assert_eq!(aligned(domain, header_from, Mode::Strict), Some(strict), "{domain} {header_from}");
    }
}

#[test]
fn neighbours_below_a_public_suffix_are_not_aligned() {
    assert_eq!(aligned("a.co.uk", "b.co.uk", Mode::Relaxed), Some(false));
    assert_eq!(aligned("mail.a.co.uk", "www.a.co.uk", Mode::Relaxed), Some(true));
    assert_eq!(aligned("co.uk", "co.uk", Mode::Relaxed), Some(true));
}

#[test]
fn an_unknown_alignment_mode_matters_only_if_relaxed_and_strict_differ() {
    assert_eq!(Mode::of(Some("relaxed-ish")), Mode::Unknown);
    assert_eq!(aligned("example.com", "example.com", Mode::Unknown), Some(true));
    assert_eq!(aligned("sample.net", "example.com", Mode::Unknown), Some(false));
    assert_eq!(aligned("example.com", "www.example.com", Mode::Unknown), None);
}

#[test]
fn organisational_domains_come_from_the_public_suffix_list() {
    // RFC 7489 section 3.2: a.b.c.d.example.com with the suffix "com".
    assert_eq!(org_domain("a.b.c.d.example.com"), Some("example.com"));
    assert_eq!(org_domain("www.example.co.uk"), Some("example.co.uk"));
    assert_eq!(org_domain("co.uk"), None);
    assert_eq!(org_domain("host.unlisted"), Some("host.unlisted"));
    for no_name in ["", ".", "..", "a..b", ".com", "user@example.com", "a b.com", "a.com\0"] {
        assert_eq!(org_domain(no_name), None, "{no_name:?}");
    }
}

#[test]
fn the_first_passing_aligned_signature_explains_the_verdict() {
    let told = [dkim("sample.net", "pass"), dkim("example.com", "fail"), dkim("mail.example.com", "pass")];
    let explaining = |told: &[DkimAuth], mode| explaining(told.iter(), Some("example.com"), mode);
    assert_eq!(explaining(&told, Mode::Relaxed), Some(2));
    assert_eq!(explaining(&told, Mode::Strict), Some(0), "no aligned one: the first passing");
    assert_eq!(explaining(&told[1..2], Mode::Relaxed), Some(0), "none passing: the first");
    assert_eq!(explaining(&[], Mode::Relaxed), None);
}

#[test]
fn mfrom_takes_precedence_over_helo() {
    let explaining = |told: &[SpfAuth]| explaining(told.iter(), Some("example.com"), Mode::Relaxed);
    let helo = spf(Some("helo"), "mx.example.com", "pass");
    assert_eq!(explaining(&[helo.clone(), spf(Some("mfrom"), "example.com", "pass")]), Some(1));
    assert_eq!(explaining(&[helo.clone(), spf(None, "example.com", "pass")]), Some(1));
    assert_eq!(explaining(&[spf(Some("mfrom"), "sample.net", "pass"), helo]), Some(1), "aligned goes before both");
}

#[test]
fn alignment_is_null_if_data_is_missing() {
    let vouches = |told: &[DkimAuth], header_from: Option<&str>, verdict: Option<&str>| {
        any_vouches(told.iter(), header_from, Mode::Relaxed, verdict)
    };
    let from = Some("example.com");
    let pass = dkim("example.com", "pass");
    let nameless = DkimAuth { domain: None, ..pass.clone() };
    let resultless = DkimAuth { result: None, ..pass.clone() };
    assert_eq!(vouches(std::slice::from_ref(&pass), from, None), Some(true));
    assert_eq!(vouches(&[dkim("example.com", "fail")], from, None), Some(false));
    assert_eq!(vouches(&[dkim("sample.net", "pass")], from, None), Some(false));
    assert_eq!(vouches(&[dkim("sample.net", "pass"), nameless.clone()], from, None), None);
    assert_eq!(vouches(&[nameless.clone(), dkim("sample.net", "pass")], from, None), None);
    assert_eq!(vouches(&[nameless, pass.clone()], from, None), Some(true));
    assert_eq!(vouches(&[resultless], from, None), None);
    assert_eq!(vouches(&[pass], None, None), None);
    assert_eq!(vouches(&[], from, Some("fail")), Some(false));
    assert_eq!(vouches(&[], from, Some("pass")), None);
    assert_eq!(vouches(&[], from, None), None);
}

#[test]
fn dmarc_passes_when_either_does() {
    assert_eq!(dmarc_pass(None, None), None);
    assert_eq!(dmarc_pass(Some("fail"), None), Some(false));
    assert_eq!(dmarc_pass(Some("fail"), Some("pass")), Some(true));
    assert_eq!(dmarc_pass(Some("fail"), Some("fail")), Some(false));
}

#[test]
fn the_subdomain_policy_applies_below_the_policy_domain_only() {
    let policy = |from, sp| policy_effective(Some(from), Some("example.com"), Some("reject"), sp, None);
    assert_eq!(policy("example.com", Some("none")), Some("reject"));
    assert_eq!(policy("a.example.com", Some("none")), Some("none"));
    assert_eq!(policy("a.example.com", None), Some("reject"));
    assert_eq!(policy("badexample.com", Some("none")), None);
    assert_eq!(policy_effective(None, Some("example.com"), Some("reject"), None, None), None);
}

/// RFC 9989 section 4.7, the tag `t`.
#[test]
fn testing_lowers_the_effective_policy_by_one_level() {
    let policy = |from, p, sp, testing| policy_effective(Some(from), Some("example.com"), Some(p), sp, Some(testing));
    assert_eq!(policy("example.com", "reject", None, "y"), Some("quarantine"));
    assert_eq!(policy("example.com", "quarantine", None, "y"), Some("none"));
    assert_eq!(policy("example.com", "none", None, "y"), Some("none"));
    assert_eq!(policy("a.example.com", "none", Some("reject"), "y"), Some("quarantine"));
    assert_eq!(policy("example.com", "reject", None, "n"), Some("reject"));
    assert_eq!(policy("example.com", "reject", None, "maybe"), Some("reject"), "no value of the tag");
    assert_eq!(policy("example.com", "monitor", None, "y"), Some("monitor"), "no known policy");
}

#[test]
fn failures_are_classed_by_what_the_report_says() {
    let class = |pass, aligned, reasons: &[Override], dkim: &[DkimAuth], spf: &[SpfAuth]| {
        failure_class(pass, [aligned, None], reasons, dkim, spf)
    };
    let foreign = [dkim("sample.net", "pass")];
    let failed = [spf(None, "example.com", "softfail")];
    assert_eq!(class(Some(true), None, &[], &[], &[]), Some("pass"));
    assert_eq!(class(None, None, &[], &foreign, &[]), None);
    assert_eq!(class(Some(false), None, &[reason("mailing_list", "")], &foreign, &[]), Some("forwarded"));
    assert_eq!(class(Some(false), None, &[reason("local_policy", "arc=pass as[1].d=x")], &[], &[]), Some("forwarded"));
    assert_eq!(class(Some(false), None, &[reason("local_policy", "because")], &foreign, &failed), Some("misaligned"));
    assert_eq!(class(Some(false), Some(false), &[], &[], &failed), Some("unauthenticated"));
    assert_eq!(class(Some(false), Some(true), &[], &foreign, &[]), None, "the verdict contradicts the results");
    assert_eq!(class(Some(false), None, &[], &[], &[]), None);
}
