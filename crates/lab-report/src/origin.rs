//! The scenario behind a run.

/// The scenario behind a run, for verdict and page.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin<'a> {
    /// The question that the scenario answers.
    pub question: &'a str,
    /// What is done to answer it.
    pub summary: &'a str,
    /// The scenario as a file.
    pub text: &'a str,
    pub command: &'a str,
    /// The verdict on a good run, with `{ROW.FIGURE}` and `{ROW/OTHER.FIGURE}` for figures of rows.
    pub verdict: Option<&'a str>,
    /// A command to try after a good run.
    pub next: &'a str,
}
