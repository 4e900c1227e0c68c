"""Reports of results: one offline HTML page, Markdown for a pull request, JUnit XML for a build server, and JSON."""
