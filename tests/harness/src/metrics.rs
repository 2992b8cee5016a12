//! What `/metrics` said at one moment.

/// A scrape in the text format.
#[derive(Clone, Debug)]
pub struct Metrics {
    text: String,
}

impl Metrics {
    pub fn new(text: String) -> Self {
        Self { text }
    }

    /// The sum of the samples of this name that have at least these labels; 0 where there are none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("{key}=\"{value}\""))
            .collect();
        let samples = self.text.lines().filter_map(|line| sample(line, name));
        let chosen =
            samples.filter(|(found, _)| wanted.iter().all(|label| found.contains(&label.as_str())));
        chosen.map(|(_, value)| value).sum()
    }

    /// Whether there is any sample of this name.
    pub fn has(&self, name: &str) -> bool {
        self.text.lines().any(|line| sample(line, name).is_some())
    }

    pub fn text(&self) -> &str {
        &self.text
    }
}

fn sample<'a>(line: &'a str, name: &str) -> Option<(Vec<&'a str>, f64)> {
    let rest = line.strip_prefix(name)?;
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => rest.rsplit_once("} ")?,
        None => ("", rest.strip_prefix(' ')?),
    };
    // Our label values have no commas in them.
    Some((labels.split(',').collect(), value.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_over_the_labels_that_are_not_asked_for() {
        let metrics = Metrics::new(
            "# HELP a A.\na{x=\"1\",y=\"1\"} 2\na{x=\"1\",y=\"2\"} 3\na{x=\"2\",y=\"1\"} 4\nab 9\nb 5\n".to_owned(),
        );
        assert_eq!(metrics.sum("a", &[("x", "1")]), 5.0);
        assert_eq!(metrics.sum("a", &[("y", "1"), ("x", "2")]), 4.0);
        assert_eq!(metrics.sum("b", &[]), 5.0);
        assert_eq!(metrics.sum("c", &[]), 0.0);
        assert!(metrics.has("ab") && !metrics.has("c"));
    }
}
