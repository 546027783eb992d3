use super::*;

fn dkim<'a>(domain: &'a str, result: &'a str) -> DkimAuth<'a> {
    DkimAuth { domain: Some(domain.into()), result: Some(result.into()), ..Default::default() }
}

fn spf<'a>(scope: Option<&'a str>, domain: &'a str, result: &'a str) -> SpfAuth<'a> {
    SpfAuth {
        domain: Some(domain.into()),
        scope: scope.map(Into::into),
        result: Some(result.into()),
        ..Default::default()
    }
}

fn reason<'a>(kind: &'a str, comment: &'a str) -> Override<'a> {
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
fn alignment_and_policy_are_the_same_for_u_labels_and_a_labels() {
    let (u, a) = ("bücher.example", "xn--bcher-kva.example");
    for (domain, header_from) in [(u, a), (a, u), (u, u), (a, a)] {
        assert_eq!(aligned(domain, header_from, Mode::Strict), Some(true), "{domain} {header_from}");
        let below = format!("www.{header_from}");
        assert_eq!(aligned(domain, &below, Mode::Relaxed), Some(true), "{domain} {below}");
        assert_eq!(aligned(domain, &below, Mode::Strict), Some(false), "{domain} {below}");
        let policy = |from| policy_effective(Some(from), Some(domain), Some("reject"), Some("none"), None);
        assert_eq!((policy(header_from), policy(&below)), (Some("reject"), Some("none")), "{domain} {header_from}");
    }
    assert_eq!(aligned("bucher.example", u, Mode::Relaxed), Some(false));
    assert_eq!(aligned("straße.example", "strasse.example", Mode::Relaxed), Some(false), "not transitional");
    assert_eq!(aligned("食狮.公司.cn", "别的.公司.cn", Mode::Relaxed), Some(false), "a public suffix");
    assert_eq!(aligned("b\u{fffd}cher.example", a, Mode::Relaxed), None, "no domain name");
}

#[test]
fn the_first_passing_aligned_signature_explains_the_verdict() {
    let told = [dkim("sample.net", "pass"), dkim("example.com", "fail"), dkim("mail.example.com", "pass")];
    let explaining = |told: &[DkimAuth], mode| explaining(told.iter().map(Identifier::from), Some("example.com"), mode);
    assert_eq!(explaining(&told, Mode::Relaxed), Some(2));
    assert_eq!(explaining(&told, Mode::Strict), Some(0), "no aligned one: the first passing");
    assert_eq!(explaining(&told[1..2], Mode::Relaxed), Some(0), "none passing: the first");
    assert_eq!(explaining(&[], Mode::Relaxed), None);
}

#[test]
fn mfrom_takes_precedence_over_helo() {
    let explaining = |told: &[SpfAuth]| {
        let identity = Spf::of(told, None, false, None);
        explaining(identity.identifiers(told), Some("example.com"), Mode::Relaxed)
    };
    let helo = spf(Some("helo"), "mx.example.com", "pass");
    assert_eq!(explaining(&[helo.clone(), spf(Some("mfrom"), "example.com", "pass")]), Some(1));
    assert_eq!(explaining(&[helo.clone(), spf(None, "example.com", "pass")]), Some(1));
    assert_eq!(explaining(&[helo.clone(), spf(Some("mfrom"), "sample.net", "fail")]), Some(1));
    assert_eq!(explaining(&[spf(Some("mfrom"), "sample.net", "pass"), helo]), Some(0), "HELO does not count");
}

/// RFC 7489 section 3.1.2, RFC 9989: the identity is that of MAIL FROM, and HELO stands in for the null reverse-path only.
#[test]
fn helo_counts_for_the_null_sender_alone() {
    let helo = || spf(Some("helo"), "example.com", "pass");
    let ehlo = || spf(Some("ehlo"), "example.com", "pass");
    let mfrom = |result| spf(Some("mfrom"), "example.com", result);
    let unscoped = spf(None, "example.com", "fail");
    let nameless = SpfAuth { domain: None, ..mfrom("none") };
    let (named, unknown, null) = ((Some("example.com"), false), (None, false), (None, true));
    for (told, (envelope_from, has_null_sender), verdict, aligned) in [
        (vec![helo(), mfrom("fail")], unknown, "fail", Some(false)),
        (vec![helo(), mfrom("fail")], unknown, "pass", Some(false)),
        (vec![helo(), mfrom("fail")], named, "fail", Some(false)),
        (vec![mfrom("softfail"), ehlo()], unknown, "fail", Some(false)),
        (vec![helo(), unscoped], unknown, "fail", Some(false)),
        (vec![helo()], named, "fail", Some(false)),
        (vec![helo()], named, "pass", None),
        (vec![helo()], null, "pass", Some(true)),
        (vec![nameless.clone(), helo()], null, "pass", Some(true)),
        (vec![helo()], unknown, "pass", Some(true)),
        (vec![nameless, helo()], unknown, "pass", Some(true)),
        (vec![helo()], unknown, "fail", Some(false)),
        (vec![helo(), mfrom("pass")], named, "pass", Some(true)),
        (vec![spf(Some("helo"), "sample.net", "pass")], null, "fail", Some(false)),
    ] {
        let identity = Spf::of(&told, envelope_from, has_null_sender, Some(verdict));
        let vouches =
            any_vouches(identity.identifiers(&told), Some("example.com"), Mode::Relaxed, Some(verdict), false);
        assert_eq!(vouches, aligned, "{told:?} {envelope_from:?} {has_null_sender} {verdict}");
    }
}

#[test]
fn a_result_that_does_not_count_explains_and_classes_nothing() {
    let told = [spf(Some("helo"), "example.com", "pass"), spf(Some("mfrom"), "example.com", "fail")];
    let identity = Spf::of(&told, None, false, Some("fail"));
    assert_eq!(explaining(identity.identifiers(&told), Some("example.com"), Mode::Relaxed), Some(1));
    let class = |told: &[SpfAuth]| failure_class(Some(false), [None; 2], &[], identity.identifiers(told), false);
    assert_eq!(class(&told), Some("unauthenticated"));
    assert_eq!(class(&told[..1]), None, "no result that DMARC uses");
}

#[test]
fn a_cut_list_of_results_never_says_that_none_is_aligned() {
    let vouches = |told: &[DkimAuth]| {
        any_vouches(told.iter().map(Identifier::from), Some("example.com"), Mode::Relaxed, Some("fail"), true)
    };
    assert_eq!(vouches(&[dkim("example.com", "fail")]), None);
    assert_eq!(vouches(&[dkim("sample.net", "pass"), dkim("example.com", "pass")]), Some(true));
    assert_eq!(vouches(&[]), None);
    let class = |told: &DkimAuth| failure_class(Some(false), [None; 2], &[], [told.into()].into_iter(), true);
    assert_eq!(class(&dkim("sample.net", "pass")), Some("misaligned"));
    assert_eq!(class(&dkim("sample.net", "fail")), None);
}

#[test]
fn alignment_is_null_if_data_is_missing() {
    let vouches = |told: &[DkimAuth], header_from: Option<&str>, verdict: Option<&str>| {
        any_vouches(told.iter().map(Identifier::from), header_from, Mode::Relaxed, verdict, false)
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
        let told = dkim.iter().map(Identifier::from).chain(Spf::of(spf, None, false, None).identifiers(spf));
        failure_class(pass, [aligned, None], reasons, told, false)
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
