//! Golden tests: the events of each fixture in `tests/data/` equal those in the `.ndjson` file beside it.
//!
//! `UPDATE_GOLDEN=1 cargo test --test it golden` writes those files anew. Review them: a wrong golden file is worse than
//! none.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::support::process::Shipper;

/// Folders that contain only fixtures and their golden files.
const FOLDERS: [&str; 6] = ["report", "value", "container", "mail", "tls_rpt", "failure"];

macro_rules! fixtures {
    ($($path:literal => $name:ident,)*) => {
        /// Fixtures that have a test.
        const NAMED: &[&str] = &[$($path,)*];

        $(
            #[test]
            fn $name() {
                holds($path);
            }
        )*
    };
}

fixtures! {
    "report/001-plain.xml" => xml_plain,
    "report/002-rfc-9990.xml" => xml_rfc_9990,
    "report/003-utf-8-bom.xml" => xml_utf_8_bom,
    "report/004-utf-16-le-bom.xml" => xml_utf_16_le_bom,
    "report/005-utf-16-be-no-bom.xml" => xml_utf_16_be_no_bom,
    "report/006-windows-1252-declared.xml" => xml_windows_1252_declared,
    "report/007-windows-1252-undeclared.xml" => xml_windows_1252_undeclared,
    "report/008-controls.xml" => xml_controls,
    "report/009-space-before-declaration.xml" => xml_space_before_declaration,
    "report/010-comment-before-declaration.xml" => xml_comment_before_declaration,
    "report/011-no-declaration.xml" => xml_no_declaration,
    "report/012-declaration-not-closed.xml" => xml_declaration_not_closed,
    "report/013-schema-never-closed.xml" => xml_schema_never_closed,
    "report/014-default-namespace.xml" => xml_default_namespace,
    "report/015-prefixed-namespace.xml" => xml_prefixed_namespace,
    "report/016-undeclared-prefix.xml" => xml_undeclared_prefix,
    "report/017-prefix-on-root-only.xml" => xml_prefix_on_root_only,
    "report/018-unused-namespace.xml" => xml_unused_namespace,
    "report/019-unescaped-less-than.xml" => xml_unescaped_less_than,
    "report/020-unescaped-ampersand.xml" => xml_unescaped_ampersand,
    "report/021-unescaped-greater-than.xml" => xml_unescaped_greater_than,
    "report/022-end-tag-without-its-start.xml" => xml_end_tag_without_its_start,
    "report/023-end-tags-misnamed.xml" => xml_end_tags_misnamed,
    "report/024-end-tags-cut-off.xml" => xml_end_tags_cut_off,
    "report/025-stray-text.xml" => xml_stray_text,
    "report/026-truncated.xml" => xml_truncated,
    "report/027-truncated-before-a-row.xml" => xml_truncated_before_a_row,
    "report/028-any-order.xml" => xml_any_order,
    "report/029-misspelt-elements.xml" => xml_misspelt_elements,
    "report/030-upper-case.xml" => xml_upper_case,
    "report/031-two-policies.xml" => xml_two_policies,
    "report/032-two-rows.xml" => xml_two_rows,
    "report/033-several-results.xml" => xml_several_results,
    "report/034-reasons.xml" => xml_reasons,
    "report/035-bare-records.xml" => xml_bare_records,
    "report/036-no-records.xml" => xml_no_records,
    "report/037-entities-and-cdata.xml" => xml_entities_and_cdata,
    "report/038-blanks.xml" => xml_blanks,
    "report/039-after-the-end.xml" => xml_after_the_end,
    "report/040-two-reports.xml" => xml_two_reports,
    "report/041-doctype.xml" => xml_doctype,
    "report/042-markup-in-text.xml" => xml_markup_in_text,
    "report/043-broken-attributes.xml" => xml_broken_attributes,
    "report/044-repeated-values.xml" => xml_repeated_values,
    "report/045-another-root.xml" => xml_another_root,
    "report/046-record-never-closed.xml" => xml_record_never_closed,
    "report/047-rows-in-wrappers.xml" => xml_rows_in_wrappers,
    "report/048-elements-by-other-names.xml" => xml_elements_by_other_names,
    "value/001-case-and-padding.xml" => values_case_and_padding,
    "value/002-decimal-epochs.xml" => values_decimal_epochs,
    "value/003-epochs-in-milliseconds.xml" => values_epochs_in_milliseconds,
    "value/004-epochs-missing.xml" => values_epochs_missing,
    "value/005-no-date-range.xml" => values_no_date_range,
    "value/006-epochs-that-are-no-times.xml" => values_epochs_that_are_no_times,
    "value/007-epochs-as-dates.xml" => values_epochs_as_dates,
    "value/008-begin-is-end.xml" => values_begin_is_end,
    "value/009-end-before-begin.xml" => values_end_before_begin,
    "value/010-span-of-years.xml" => values_span_of_years,
    "value/011-report-id-with-punctuation.xml" => values_report_id_with_punctuation,
    "value/012-empty-org.xml" => values_empty_org,
    "value/013-no-org-no-email.xml" => values_no_org_no_email,
    "value/014-results-of-no-standard.xml" => values_results_of_no_standard,
    "value/015-reasons-empty-or-several.xml" => values_reasons_empty_or_several,
    "value/016-reasons-of-no-standard-or-an-old-one.xml" => values_reasons_of_no_standard_or_an_old_one,
    "value/017-nothing-evaluated.xml" => values_nothing_evaluated,
    "value/018-nothing-authenticated.xml" => values_nothing_authenticated,
    "value/019-no-scope-no-selector.xml" => values_no_scope_no_selector,
    "value/020-rfc-9990.xml" => values_rfc_9990,
    "value/021-addresses-in-any-form.xml" => values_addresses_in_any_form,
    "value/022-counts-in-any-form.xml" => values_counts_in_any_form,
    "value/023-no-records.xml" => values_no_records,
    "value/024-control-characters-and-directions.xml" => values_control_characters_and_directions,
    "value/025-domain-of-100-kb.xml" => values_domain_of_100_kb,
    "value/026-identities-and-data-range.xml" => values_identities_and_data_range,
    "value/027-policies-of-no-standard.xml" => values_policies_of_no_standard,
    "value/028-helo-and-mfrom.xml" => values_helo_and_mfrom,
    "value/029-helo-and-the-null-sender.xml" => values_helo_and_the_null_sender,
    "value/030-more-signatures-than-are-kept.xml" => values_more_signatures_than_are_kept,
    "value/031-addresses-in-place-of-domains.xml" => values_addresses_in_place_of_domains,
    "value/032-reasons-as-text.xml" => values_reasons_as_text,
    "value/033-u-labels-and-a-labels.xml" => values_u_labels_and_a_labels,
    "value/034-values-missing.xml" => values_missing,
    "container/001-junk-after-the-trailer.gz" => a_gzip_with_junk_after_its_trailer,
    "container/002-several-members.gz" => a_gzip_of_several_members,
    "container/003-wrong-checksum.gz" => a_gzip_with_a_wrong_checksum,
    "container/004-cut-off.gz" => a_gzip_that_is_cut_off,
    "container/005-damaged-half-way.gz" => a_gzip_damaged_half_way,
    "container/006-gzip-in-gzip.xml.gz" => a_gzip_in_a_gzip,
    "container/007-zlib.xml.gz" => a_bare_zlib_stream,
    "container/008-tar.tar.gz" => a_gzipped_tar,
    "container/009-tar.tgz" => a_tgz_with_several_members,
    "container/010-plain.tar" => a_tar,
    "container/011-bzip2.xml.bz2" => bzip2_is_named,
    "container/012-xz.xml.xz" => xz_is_named,
    "container/013-several-members.zip" => a_zip_with_several_members,
    "container/014-directories.zip" => a_zip_with_directories,
    "container/015-macosx.zip" => a_zip_made_on_a_mac,
    "container/016-empty-name.zip" => a_zip_member_without_a_name,
    "container/017-absolute-name.zip" => zip_members_with_absolute_names,
    "container/018-name-that-climbs.zip" => a_zip_member_whose_name_climbs_out,
    "container/019-data-descriptors.zip" => a_zip_with_data_descriptors,
    "container/020-zip64.zip" => a_zip64,
    "container/021-duplicate-names.zip" => a_zip_with_the_same_name_twice,
    "container/022-overlapping-members.zip" => a_zip_whose_members_overlap,
    "container/023-encrypted.zip" => an_encrypted_zip_is_named,
    "container/024-zip-called.gz" => a_zip_called_gz,
    "container/025-gzip-called.zip" => a_gzip_called_zip,
    "container/026-unused.xml" => the_word_unused,
    "container/027-unused-in-a-zip.zip" => the_word_unused_in_a_zip,
    "container/028-wrong-checksum.zip" => a_zip_with_a_wrong_checksum,
    "container/029-wrong-checksum-stored.zip" => a_stored_zip_member_with_a_wrong_checksum,
    "container/030-cut-off.zip" => a_zip_that_is_cut_off,
    "container/031-zip-in-a-zip.zip" => a_zip_in_a_zip,
    "container/032-lzma.zip" => a_zip_packed_by_lzma_is_named,
    "container/033-nothing-in-it.xml.gz" => a_gzip_of_nothing,
    "container/034-xml-called.xml.gz" => xml_called_gz,
    "container/035-all-header-fields.xml.gz" => a_gzip_with_all_header_fields,
    "container/036-no-directory.zip" => a_zip_without_a_directory,
    "container/037-empty.xml" => an_empty_file,
    "container/038-cut-off.tgz" => a_tgz_that_is_cut_off,
    "container/039-wrong-checksum.xml.zlib" => a_zlib_stream_with_a_wrong_checksum,
    "container/050-mailbox-in-a-gzip.mbox.gz" => container_mailbox_in_a_gzip,
    "container/051-mails-in-a-zip.zip" => container_mails_in_a_zip,
    "container/052-mailbox-in-a-mail-in-a-tar.tar" => container_mailbox_in_a_mail_in_a_tar,
    "container/053-several-documents.xml.gz" => container_several_documents,
    "container/054-another-document-cut-off.xml" => container_another_document_cut_off,
    "container/055-byte-order-mark-before-a-mail.gz" => container_byte_order_mark_before_a_mail,
    "container/056-more-behind-the-gzip.gz" => container_more_behind_the_gzip,
    "container/060-other-files.zip" => container_other_files,
    "container/061-smime-opaque-signed.pem" => container_smime_opaque_signed,
    "container/062-outlook-message-cut-off.msg" => container_outlook_message_cut_off,
    "container/063-base64-text.txt" => container_base64_text,
    "container/064-no-directory-and-descriptors.zip" => container_no_directory_and_descriptors,
    "container/065-cut-off-in-the-second-member.zip" => container_cut_off_in_the_second_member,
    "container/066-arj.arj" => container_arj,
    "mail/001-not-the-last-part.eml" => mail_not_the_last_part,
    "mail/002-several-reports.eml" => mail_several_reports,
    "mail/003-nothing-but-a-zip.eml" => mail_nothing_but_a_zip,
    "mail/004-octet-stream.eml" => mail_octet_stream,
    "mail/005-x-gzip.eml" => mail_x_gzip,
    "mail/006-application-x-gzip.eml" => mail_application_x_gzip,
    "mail/007-x-zip-compressed.eml" => mail_x_zip_compressed,
    "mail/008-text-xml-around-a-gzip.eml" => mail_text_xml_around_a_gzip,
    "mail/009-contenttype.eml" => mail_contenttype,
    "mail/010-inline.eml" => mail_inline,
    "mail/011-date-in-a-part.eml" => mail_date_in_a_part,
    "mail/012-name-in-pieces.eml" => mail_name_in_pieces,
    "mail/013-name-in-percents.eml" => mail_name_in_percents,
    "mail/014-name-in-an-encoded-word.eml" => mail_name_in_an_encoded_word,
    "mail/015-no-name.eml" => mail_no_name,
    "mail/016-forwarded.eml" => mail_forwarded,
    "mail/017-forwarded-as-attachments.eml" => mail_forwarded_as_attachments,
    "mail/018-base64-with-junk.eml" => mail_base64_with_junk,
    "mail/019-base64-without-padding.eml" => mail_base64_without_padding,
    "mail/020-base64-not-declared.eml" => mail_base64_not_declared,
    "mail/021-7bit.eml" => mail_7bit,
    "mail/022-8bit.eml" => mail_8bit,
    "mail/023-quoted-printable.eml" => mail_quoted_printable,
    "mail/024-binary.eml" => mail_binary,
    "mail/025-bare-lf.eml" => mail_bare_lf,
    "mail/026-bare-cr.eml" => mail_bare_cr,
    "mail/027-mixed-line-ends.eml" => mail_mixed_line_ends,
    "mail/028-mailbox-line.eml" => mail_mailbox_line,
    "mail/029-two-mails.mbox" => mail_two_mails,
    "mail/030-no-from-no-date.eml" => mail_no_from_no_date,
    "mail/031-broken-from-and-date.eml" => mail_broken_from_and_date,
    "mail/032-empty-from-and-date.eml" => mail_empty_from_and_date,
    "mail/033-headers-in-encoded-words.eml" => mail_headers_in_encoded_words,
    "mail/034-headers-in-raw-bytes.eml" => mail_headers_in_raw_bytes,
    "mail/035-tnef.eml" => mail_tnef,
    "mail/036-smime-encrypted.eml" => mail_smime_encrypted,
    "mail/037-pgp-encrypted.eml" => mail_pgp_encrypted,
    "mail/038-smime-signed.eml" => mail_smime_signed,
    "mail/039-unclosed.eml" => mail_unclosed,
    "mail/040-wrong-boundary.eml" => mail_wrong_boundary,
    "mail/041-no-report-in-it.eml" => mail_no_report_in_it,
    "mail/042-cut-off.eml" => mail_cut_off,
    "mail/043-hostile-names.eml" => mail_hostile_names,
    "mail/060-base64-declared-and-plain.eml" => mail_base64_declared_and_plain,
    "mail/061-base64-of-xml-not-declared.eml" => mail_base64_of_xml_not_declared,
    "mail/062-base64-twice.eml" => mail_base64_twice,
    "mail/063-other-files.eml" => mail_other_files,
    "mail/064-smime-opaque-signed.eml" => mail_smime_opaque_signed,
    "mail/065-smime-opaque-signed-in-pieces.eml" => mail_smime_opaque_signed_in_pieces,
    "mail/066-outlook-message.eml" => mail_outlook_message,
    "mail/067-bounce-of-our-report.eml" => mail_bounce_of_our_report,
    "mail/060-dates-in-any-form.mbox" => mail_dates_in_any_form,
    "mail/050-byte-order-mark.eml" => mail_byte_order_mark,
    "mail/051-xml-behind-a-greeting.eml" => mail_xml_behind_a_greeting,
    "mail/052-json-behind-a-greeting.eml" => mail_json_behind_a_greeting,
    "mail/053-uuencode-behind-a-greeting.eml" => mail_uuencode_behind_a_greeting,
    "mail/054-x-uuencode.eml" => mail_x_uuencode,
    "mail/055-xml-in-html.eml" => mail_xml_in_html,
    "mail/056-content-type-twice.eml" => mail_content_type_twice,
    "mail/057-no-boundary-parameter.eml" => mail_no_boundary_parameter,
    "mail/058-behind-the-last-part.eml" => mail_behind_the_last_part,
    "mail/059-attachment-removed.eml" => mail_attachment_removed,
    "mail/060-text-for-people-in-html.eml" => mail_text_for_people_in_html,
    "tls_rpt/001-plain.json" => tls_plain,
    "tls_rpt/002-contact-null.json" => tls_contact_null,
    "tls_rpt/003-contact-list.json" => tls_contact_list,
    "tls_rpt/004-mx-host-as-text.json" => tls_mx_host_as_text,
    "tls_rpt/005-mx-host-pattern.json" => tls_mx_host_pattern,
    "tls_rpt/006-policy-string-as-text.json" => tls_policy_string_as_text,
    "tls_rpt/007-counts-as-text.json" => tls_counts_as_text,
    "tls_rpt/008-times-without-zone.json" => tls_times_without_zone,
    "tls_rpt/009-no-policy-domain.json" => tls_no_policy_domain,
    "tls_rpt/010-no-addresses.json" => tls_no_addresses,
    "tls_rpt/011-no-policies.json" => tls_no_policies,
    "tls_rpt/012-no-summary.json" => tls_no_summary,
    "tls_rpt/013-unknown-keys.json" => tls_unknown_keys,
    "tls_rpt/014-keys-in-another-case.json" => tls_keys_in_another_case,
    "tls_rpt/015-byte-order-mark.json" => tls_byte_order_mark,
    "tls_rpt/016-failures-before-their-policy.json" => tls_failures_before_their_policy,
    "tls_rpt/017-objects-for-lists.json" => tls_objects_for_lists,
    "tls_rpt/018-cut-off.json" => tls_cut_off,
    "tls_rpt/019-after-the-end.json" => tls_after_the_end,
    "tls_rpt/020-other-types.json" => tls_other_types,
    "tls_rpt/021-utf-16.json" => tls_utf_16,
    "tls_rpt/022-failures-null.json" => tls_failures_null,
    "tls_rpt/023-control-characters.json" => tls_control_characters,
    "tls_rpt/024-another-document.json" => tls_another_document,
    "tls_rpt/025-unknown-words.json" => tls_unknown_words,
    "tls_rpt/026-two-domains.json" => tls_two_domains,
    "tls_rpt/040-summary-empty.json" => tls_summary_empty,
    "tls_rpt/041-organization-empty.json" => tls_organization_empty,
    "tls_rpt/042-counts-null.json" => tls_counts_null,
    "tls_rpt/043-domain-in-the-header.eml" => tls_domain_in_the_header,
    "tls_rpt/050-json-lines.json" => tls_json_lines,
    "tls_rpt/051-array.json" => tls_array,
    "tls_rpt/060-wrapped-in-an-object.json" => tls_wrapped_in_an_object,
    "tls_rpt/061-json-string.json" => tls_json_string,
    "tls_rpt/062-json-string-in-an-object.json" => tls_json_string_in_an_object,
    "failure/001-plain.eml" => failure_plain,
    "failure/002-base64.eml" => failure_base64,
    "failure/003-source-ip-with-name.eml" => failure_source_ip_with_name,
    "failure/004-only-what-must-be.eml" => failure_only_what_must_be,
    "failure/005-lists-with-comments.eml" => failure_lists_with_comments,
    "failure/006-repeated-fields.eml" => failure_repeated_fields,
    "failure/007-headers-only.eml" => failure_headers_only,
    "failure/008-no-feedback-type.eml" => failure_no_feedback_type,
    "failure/009-abuse.eml" => failure_abuse,
    "failure/010-opt-out.eml" => failure_opt_out,
    "failure/011-text-for-people.eml" => failure_text_for_people,
    "failure/012-fields-within-the-text.eml" => failure_fields_within_the_text,
    "failure/013-wrong-content-type.eml" => failure_wrong_content_type,
    "failure/014-empty-fields.eml" => failure_empty_fields,
    "failure/015-folded-anyhow.eml" => failure_folded_anyhow,
    "failure/016-mailbox-line.eml" => failure_mailbox_line,
    "failure/017-body-among-the-fields.eml" => failure_body_among_the_fields,
    "failure/018-weekday-and-zone.eml" => failure_weekday_and_zone,
    "failure/030-text-only-in-other-words.eml" => failure_text_only_in_other_words,
    "failure/031-text-in-a-table.eml" => failure_text_in_a_table,
    "failure/032-feedback-part-relabelled.eml" => failure_feedback_part_relabelled,
    "failure/033-feedback-part-and-mail-as-octet-stream.eml" => failure_feedback_part_and_mail_as_octet_stream,
    "failure/034-abuse-with-authentication-fields.eml" => failure_abuse_with_authentication_fields,
    "failure/035-two-from-addresses.eml" => failure_two_from_addresses,
    "failure/036-sparse-fields.eml" => failure_sparse_fields,
    "failure/037-arrival-date-without-zone.eml" => failure_arrival_date_without_zone,
    "failure/038-arrival-date-in-an-ambiguous-zone.eml" => failure_arrival_date_in_an_ambiguous_zone,
}

#[test]
fn every_fixture_has_a_golden_test_and_file() {
    let mut named = NAMED.to_vec();
    named.sort_unstable();
    assert_eq!(fixtures(), named);
    for golden in files(|name| name.ends_with(".ndjson")) {
        assert!(named.iter().any(|fixture| beside(fixture) == golden), "nothing makes {golden}");
    }
}

/// Fails unless the events of the fixture equal those of its golden file.
#[track_caller]
fn holds(fixture: &str) {
    let golden = data().join(beside(fixture));
    let now = parsed(fixture);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(golden, now).unwrap();
        return;
    }
    let held = fs::read_to_string(&golden).unwrap_or_else(|error| panic!("{}: {error}", golden.display()));
    for (number, (held, now)) in held.lines().zip(now.lines()).enumerate() {
        assert_eq!(now, held, "line {} of {}", number + 1, golden.display());
    }
    assert_eq!(now.lines().count(), held.lines().count(), "lines of {}", golden.display());
}

/// Returns the events of a fixture. Each is parsed by itself: several have the same report, which one run prints once.
fn parsed(fixture: &str) -> String {
    let mut parsed = String::new();
    let finished = Shipper::new(["parse", fixture]).within(&data()).run();
    assert!(matches!(finished.status.code(), Some(0 | 65)), "{}", finished.stderr);
    for line in finished.stdout.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let ingested = event["ingest_timestamp"].as_str().unwrap();
        parsed.push_str(&line.replace(ingested, "2026-01-01T00:00:00Z"));
        parsed.push('\n');
    }
    parsed
}

fn fixtures() -> Vec<String> {
    files(|name| !name.ends_with(".ndjson"))
}

/// Returns paths relative to `tests/data/`, sorted.
fn files(wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let names = |folder: &'static str| {
        let entries = fs::read_dir(data().join(folder)).unwrap();
        entries.map(move |entry| format!("{folder}/{}", entry.unwrap().file_name().into_string().unwrap()))
    };
    let mut files: Vec<String> = FOLDERS.into_iter().flat_map(names).filter(|name| wanted(name)).collect();
    files.sort();
    files
}

/// Returns the path of the golden file: `report/001-plain.xml` → `report/001-plain.ndjson`
fn beside(fixture: &str) -> String {
    let (folder, name) = fixture.split_once('/').unwrap();
    format!("{folder}/{}.ndjson", name.split('.').next().unwrap())
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}
