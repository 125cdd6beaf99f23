"""Runs `rocrate-validator` (package roc-validator) on a crate, without a network: `python crate_validator.py CRATE`.

To be run by the Python that has the package. The two JSON-LD contexts that a crate refers to lie on the web; here stand
those of their terms that the export uses, with the addresses that the contexts give them, so a property or type that is
not in this list counts as unknown. Exits with 0 when all REQUIRED checks of the profiles that the crate names hold.
"""

from __future__ import annotations

import json
import sys

_BIO = "https://bioschemas.org/"
_RUN = "https://w3id.org/ro/terms/workflow-run#"
_SCHEMA = (
    "ComputerLanguage ControlAction CreateAction CreativeWork Dataset HowTo HowToStep OrganizeAction Person "
    "PropertyValue SoftwareApplication SoftwareSourceCode WebPage about actionStatus additionalType agent "
    "alternateName author contentSize datePublished description encodingFormat endTime error exampleOfWork hasPart "
    "identifier instrument license mainEntity mentions name object position programmingLanguage propertyID result "
    "softwareRequirements softwareVersion startTime step unitCode url value version workExample"
)
CRATE = {term: f"http://schema.org/{term}" for term in _SCHEMA.split()} | {
    "File": "http://schema.org/MediaObject",
    "conformsTo": "http://purl.org/dc/terms/conformsTo",
    "ComputationalWorkflow": f"{_BIO}ComputationalWorkflow",
    "FormalParameter": f"{_BIO}FormalParameter",
    "input": f"{_BIO}ComputationalWorkflow#input",
    "output": f"{_BIO}ComputationalWorkflow#output",
}
WORKFLOW_RUN = {
    term: _RUN + term
    for term in ("ParameterConnection", "connection", "sourceParameter", "targetParameter", "sha256", "resourceUsage")
}
CONTEXTS = {
    "https://w3id.org/ro/crate/1.1/context": {"@context": CRATE},
    "https://w3id.org/ro/terms/workflow-run/context": {"@context": WORKFLOW_RUN},
}


def main() -> None:
    import rdflib.plugins.shared.jsonld.context as context
    import rdflib.plugins.shared.jsonld.util as util
    import requests
    from rocrate_validator import models, services
    from rocrate_validator.utils.http import HttpRequester

    read = util.source_to_json

    def source_to_json(source, *more, **named):
        url = str(getattr(source, "url", source)).rstrip("/")
        return (CONTEXTS[url], None) if url in CONTEXTS else read(source, *more, **named)

    def get(url, *more, **named):
        answer = requests.Response()
        answer.status_code, answer.url = 200, url
        answer.headers["Content-Type"] = "application/ld+json"
        answer._content = json.dumps(CONTEXTS[url]).encode()
        return answer

    def method(self, name):
        if name != "get":
            raise AttributeError(name)
        return get

    util.source_to_json = context.source_to_json = source_to_json
    HttpRequester.__getattr__, HttpRequester.fetch_fresh = method, lambda self, url, **named: get(url)
    settings = services.ValidationSettings(
        rocrate_uri=sys.argv[1],
        profile_identifier="provenance-run-crate-0.5",
        requirement_severity=models.Severity.REQUIRED,
    )
    result = services.validate(settings)
    for issue in result.get_issues():
        print(f"{issue.severity.name} {issue.check.identifier}: {issue.message}")
    checks = len(result.executed_checks)
    print(f"{checks} checks")
    sys.exit(0 if result.passed() and checks > 50 else 1)


if __name__ == "__main__":
    main()
