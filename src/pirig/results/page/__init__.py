"""Pages about runs: self-contained HTML, charts as inline SVG, one stylesheet, no script but the live page's."""
