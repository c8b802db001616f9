"""Self-contained HTML pages: charts as SVG, pictures inside, no script, nothing from outside."""
