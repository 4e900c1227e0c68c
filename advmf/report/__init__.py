"""Results as people read them: one offline HTML page, Markdown for a pull request, JUnit XML for a build
server, JSON."""
