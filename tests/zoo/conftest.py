from hub.conftest import hub, small_model  # noqa: F401
