//! What passed, failed and was skipped, and the line that says so.

/// Counts, with a line for each failure and each skip.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failures: Vec<String>,
    pub(crate) skips: Vec<String>,
}

impl Tally {
    pub(crate) fn fail(&mut self, what: impl Into<String>) {
        self.failures.push(what.into());
    }

    pub(crate) fn skip(&mut self, what: impl Into<String>) {
        self.skips.push(what.into());
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failures.extend(other.failures);
        self.skips.extend(other.skips);
    }

    /// A check counts as one.
    pub(crate) fn check(&mut self, name: &str, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.passed += 1,
            Err(why) => self.fail(format!("{name}: {why}")),
        }
    }

    /// Prints failures, skips, and the closing line; whether nothing failed.
    pub(crate) fn close(&self) -> bool {
        println!();
        for line in &self.skips {
            println!("skipped: {line}");
        }
        for line in &self.failures {
            println!("FAILED: {line}");
        }
        println!("{}", self.line());
        self.failures.is_empty()
    }

    pub(crate) fn line(&self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failures.len(), self.skips.len())
    }

    /// Counts from nextest's JUnit report. A test that said `skipped: REASON` did not pass.
    pub(crate) fn of_junit(report: &str) -> Self {
        let mut tally = Self::default();
        for case in report.split("<testcase ").skip(1) {
            let case = case.split("</testcase>").next().unwrap_or(case);
            let head = case.split('>').next().unwrap_or(case);
            let name = format!("{} {}", attribute(head, "classname"), attribute(head, "name"));
            if case.contains("<failure") || case.contains("<error") {
                tally.fail(name);
            } else if let Some(reason) = reason_of_skip(case) {
                tally.skip(format!("{name}: {reason}"));
            } else {
                tally.passed += 1;
            }
        }
        tally
    }

    /// Counts from what test programs of the standard harness print, each test's output in its place.
    pub(crate) fn of_harness(program: &str, text: &str) -> Self {
        let mut tally = Self::default();
        let (mut failed, mut said, mut test) = (0, 0, "");
        for line in text.lines() {
            if let Some((_, rest)) = line.split_once("test ").filter(|(before, _)| before.is_empty()) {
                test = rest.split(" ... ").next().unwrap_or(rest);
                if rest.ends_with("... FAILED") {
                    tally.fail(format!("{program} {test}"));
                }
            } else if line == "FAILED" {
                tally.fail(format!("{program} {test}"));
            }
            if let Some((_, reason)) = line.split_once("skipped: ") {
                tally.skip(format!("{program} {test}: {reason}"));
                said += 1;
            }
            if let Some((_, result)) = line.split_once("test result: ") {
                let count = |word: &str| -> u64 {
                    let place = result.find(&format!(" {word}"));
                    let number = place.and_then(|place| result[..place].rsplit(' ').next());
                    number.and_then(|number| number.parse().ok()).unwrap_or(0)
                };
                tally.passed += count("passed");
                failed += count("failed");
                for _ in 0..count("ignored") {
                    tally.skip(format!("{program}: a test marked `ignore`"));
                }
            }
        }
        // a test that said why it cannot run has not passed
        tally.passed = tally.passed.saturating_sub(said);
        // a failure whose name was lost among other output is a failure all the same
        while (tally.failures.len() as u64) < failed {
            tally.fail(format!("{program}: a test whose name was not seen"));
        }
        tally
    }
}

fn attribute(head: &str, name: &str) -> String {
    let text = head.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split('"').next());
    plain(text.unwrap_or("?"))
}

fn reason_of_skip(case: &str) -> Option<String> {
    let (before, rest) = case.split_once("skipped: ")?;
    let begins = before.ends_with('\n') || before.ends_with('>') || before.ends_with("... ");
    begins.then(|| plain(rest.lines().next().unwrap_or("").split('<').next().unwrap_or("")))
}

fn plain(text: &str) -> String {
    text.replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn a_report_of_nextest_is_counted_with_reasons_of_skips() {
        let tally = Tally::of_junit(
            "<testsuites><testsuite><testcase name=\"a\" classname=\"x::y\"/>\
             <testcase name=\"b\" classname=\"x\" time=\"1\"><system-err>skipped: no &quot;dig&quot;\nmore</system-err></testcase>\
             <testcase name=\"c\" classname=\"x\"><failure type=\"t\">died</failure></testcase>\
             <testcase name=\"d\" classname=\"x\"><flakyFailure>once</flakyFailure></testcase></testsuite></testsuites>",
        );
        assert_eq!(tally.line(), "2 passed, 1 failed, 1 skipped");
        assert_eq!(tally.skips, ["x b: no \"dig\""]);
        assert_eq!(tally.failures, ["x c"]);
    }

    #[test]
    fn what_the_standard_harness_prints_is_counted() {
        let text = "running 4 tests\ntest one ... ok\ntest two ... skipped: no strace\nok\ntest three ... \
                    thread panicked\nFAILED\ntest four ... ignored\n\
                    test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s\n";
        let tally = Tally::of_harness("p", text);
        assert_eq!(tally.failures, ["p three"]);
        assert_eq!(tally.skips, ["p two: no strace", "p: a test marked `ignore`"]);
        assert_eq!(tally.passed, 1);
    }

    #[test]
    fn a_failure_whose_name_is_lost_is_still_counted() {
        let tally = Tally::of_harness("p", "test result: FAILED. 0 passed; 2 failed; 0 ignored");
        assert_eq!(tally.failures.len(), 2);
    }
}
