//! A picture as PNG: its SVG, painted, with letters of a font that comes along, so that it needs nothing of the machine.

use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use resvg::{
    tiny_skia::{Pixmap, Transform},
    usvg::{Options, Tree, fontdb::Database},
};

/// Pixels of each unit of the SVG: sharp on today's screens, and at 220 dots per inch as wide as a page.
const SCALE: f32 = 2.0;

/// Paints an SVG.
///
/// # Errors
/// It is no SVG, or too large for memory.
pub(crate) fn png(svg: &str) -> anyhow::Result<Vec<u8>> {
    let mut fonts = Database::new();
    fonts.load_font_data(notosans::REGULAR_TTF.to_vec());
    // Whatever family is asked for, this is the one that is there.
    fonts.set_sans_serif_family("Noto Sans");
    let options = Options { fontdb: Arc::new(fonts), font_family: "Noto Sans".into(), ..Options::default() };
    let tree = Tree::from_str(svg, &options).context("reading the SVG")?;
    let size = tree.size();
    let (width, height) = ((size.width() * SCALE).ceil() as u32, (size.height() * SCALE).ceil() as u32);
    let mut pixels = Pixmap::new(width, height).ok_or_else(|| anyhow!("{width} by {height} pixels are too many"))?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().context("writing the PNG")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels(svg: &str) -> Pixmap {
        Pixmap::decode_png(&png(svg).unwrap()).unwrap()
    }

    #[test]
    fn letters_are_painted_without_a_font_of_the_machine() {
        let svg = |text: &str| {
            format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"90\" height=\"20\" font-family=\"'No Such Font', sans-serif\">\
                 <text x=\"2\" y=\"14\">{text}</text></svg>"
            )
        };
        let dark = |text: &str| pixels(&svg(text)).pixels().iter().filter(|pixel| pixel.alpha() > 128).count();
        assert_eq!(dark(""), 0);
        // Each more than the one before: no letter is left out, nor is it an empty box of the same size.
        let counts = ["i", "in", "int", "inté", "inté ±", "inté ±…"].map(dark);
        assert!(counts.is_sorted_by(|a, b| a < b) && counts[0] > 5, "{counts:?}");
    }

    #[test]
    fn what_is_no_svg_is_refused() {
        assert!(png("<svg").is_err());
    }
}
