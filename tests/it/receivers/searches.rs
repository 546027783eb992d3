//! Checks that `examples/searches` uses fields that exist.

use super::{
    example::read,
    names::{LOGQL, assert_fields},
};

const SPL: &[&str] = &[
    "index",
    "dmarc",
    "stats",
    "sum",
    "dc",
    "values",
    "AS",
    "BY",
    "sort",
    "earliest",
    "where",
    "relative_time",
    "now",
    "eval",
    "if",
    "round",
    "_time",
    "true",
    "d",
    "dedup",
    "count",
    "dmarc_aggregate",
    "tls_rpt",
    "ingest_error",
    "unauthenticated",
    "misaligned",
    "failure",
];
const ESQL: &[&str] = &[
    "FROM",
    "dmarc",
    "events",
    "WHERE",
    "AND",
    "OR",
    "STATS",
    "SUM",
    "COUNT",
    "COUNT_DISTINCT",
    "VALUES",
    "MIN",
    "BY",
    "SORT",
    "DESC",
    "LIMIT",
    "EVAL",
    "CASE",
    "ROUND",
    "NOW",
    "days",
    "true",
];

#[test]
fn every_search_names_fields_that_exist() {
    let page = read("searches/README.md");
    let blocks = |language: &str| -> Vec<String> {
        let fence = format!("```{language}\n");
        let blocks = page.split(&fence).skip(1);
        blocks.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
    };
    let (spl, esql, logql) = (blocks("spl"), blocks("esql"), blocks("logql"));
    assert_eq!((spl.len(), esql.len(), logql.len()), (6, 6, 6), "a question, three languages");
    spl.iter().for_each(|search| assert_fields(search, SPL, |before, _| ["AS", "eval"].contains(&before)));
    esql.iter().for_each(|search| assert_fields(search, ESQL, |_, sign| sign == '='));
    logql.iter().for_each(|search| assert_fields(search, LOGQL, |_, _| false));
}
