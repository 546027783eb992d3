//! Replaces `${VAR}` and `${VAR:-default}` in values. Works on one parsed scalar at a time, so that a variable's content can
//! never become structure.

/// Replaces the variables in `text` by the results of `variable`; `$$` is a literal `$`, and so is a `$` before anything but
/// `{`. The error does not quote the text, which may be a secret.
pub(crate) fn interpolate(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let (inside, after) =
                after.split_once('}').ok_or("a ${ is not closed; write ${NAME}, or $$ for a literal $")?;
            out.push_str(&value_of(inside, variable)?);
            rest = after;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Returns the value of a variable. As in a shell, the default also replaces an empty value.
fn value_of(inside: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let well_formed = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !well_formed {
        return Err("no variable name between ${ and }; write ${NAME} or ${NAME:-default}".to_owned());
    }
    match (variable(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!(
            "the environment variable {name} is not set; set it, or write a default as ${{{name}:-default}}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::interpolate;

    fn with(text: &str) -> Result<String, String> {
        interpolate(text, &|name| match name {
            "HOST" => Some("mail.example.com".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICKY" => Some("a: {b: c}\n${HOST}".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn environment_variables_and_defaults_are_interpolated() {
        assert_eq!(with("imap.${HOST}:${PORT:-993}").unwrap(), "imap.mail.example.com:993");
        assert_eq!(with("${EMPTY:-x}${EMPTY}${NONE:-}").unwrap(), "x");
    }

    #[test]
    fn dollar_signs_outside_variables_are_kept() {
        assert_eq!(with("pa$word$").unwrap(), "pa$word$");
        assert_eq!(with("$${HOST}$$").unwrap(), "${HOST}$");
    }

    #[test]
    fn values_of_variables_are_not_interpolated_again() {
        assert_eq!(with("${TRICKY}").unwrap(), "a: {b: c}\n${HOST}");
    }

    #[test]
    fn unset_unclosed_and_malformed_variables_are_reported_without_the_value() {
        assert!(with("s3cret${NOPE}").unwrap_err().contains("variable NOPE is not set"));
        for wrong in ["s3cret${HOST", "s3cret${}", "s3cret${1A}", "s3cret${A B}"] {
            let message = with(wrong).unwrap_err();
            assert!(!message.contains("s3cret"), "{message}");
        }
    }
}
