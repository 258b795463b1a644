//! A picture of bars, as an SVG that reads on a light page and on a dark one.

use std::fmt::Write as _;

/// One bar.
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) value: f64,
    /// Whether it is one of ours.
    pub(crate) ours: bool,
}

const WIDTH: f64 = 760.0;
const ROW: f64 = 30.0;
const TOP: f64 = 44.0;
/// Where bars begin, and how long the longest is.
const LEFT: f64 = 300.0;
const LONGEST: f64 = 380.0;

/// Draws bars whose length is their value.
pub(crate) fn picture(title: &str, bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    let height = TOP + ROW * bars.len() as f64 + 10.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\">\n<title>{title}</title>\n<style>\n\
         text {{ font: 14px sans-serif; fill: #24292f }}\n.title {{ font-weight: bold }}\n\
         .ours {{ fill: #1f6feb }}\n.peer {{ fill: #8c959f }}\n\
         @media (prefers-color-scheme: dark) {{ text {{ fill: #e6edf3 }} }}\n</style>\n\
         <text class=\"title\" x=\"8\" y=\"22\">{title}</text>\n"
    );
    for (at, Bar { name, value, ours }) in bars.iter().enumerate() {
        let y = TOP + ROW * at as f64;
        let width = (value / most * LONGEST).max(1.0);
        let class = if *ours { "ours" } else { "peer" };
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{name}</text>\
             <rect class=\"{class}\" x=\"{LEFT:.0}\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"20\"/>\
             <text x=\"{:.1}\" y=\"{:.0}\">{}</text>",
            LEFT - 8.0,
            y + 15.0,
            LEFT + width + 6.0,
            y + 15.0,
            crate::report::figure(*value),
        );
    }
    svg + "</svg>\n"
}
