"""Settings: what Kubernetes adds to the environment is ignored, and a misspelt setting is an error."""

import pytest

from log10_server.settings import Settings, SettingsError


def service_links(address: str, name: str = "HTTP", protocol: str = "tcp") -> dict[str, str]:
    """What Kubernetes sets for a Service called `log10-server` with one port, 8000, called `http`."""
    url = f"{protocol}://{address}:8000"
    port = f"LOG10_SERVER_PORT_8000_{protocol.upper()}"
    return {
        "LOG10_SERVER_SERVICE_HOST": address.strip("[]"),
        "LOG10_SERVER_SERVICE_PORT": "8000",
        f"LOG10_SERVER_SERVICE_PORT_{name}": "8000",
        "LOG10_SERVER_PORT": url,
        port: url,
        f"{port}_PROTO": protocol,
        f"{port}_PORT": "8000",
        f"{port}_ADDR": address.strip("[]"),
    }


@pytest.mark.parametrize("address", ["10.96.0.12", "[fd00:10:96::c]"])
@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
def test_the_service_links_of_kubernetes_are_ignored(address: str, protocol: str) -> None:
    """Every command died on them, in a namespace that has a Service called `log10-server`."""
    settings = Settings.from_environment(
        service_links(address, "GRPC_WEB_2", protocol) | {"LOG10_SERVER_HOST": "0.0.0.0"}
    )

    assert (settings.host, settings.port) == ("0.0.0.0", 8000)


@pytest.mark.parametrize(
    "variable",
    [
        "LOG10_SERVER_PROT",
        "LOG10_SERVER_SERVICE",
        "LOG10_SERVER_SERVICE_HOSTS",
        "LOG10_SERVER_SERVICE_PORTS",
        "LOG10_SERVER_SERVICE_PORT_",
        "LOG10_SERVER_PORT_8000",
        "LOG10_SERVER_PORT_HTTP_TCP",
        "LOG10_SERVER_PORT_8000_TCP_HOST",
        "LOG10_SERVER_PORT_8000_HTTP",
        "LOG10_SERVER_MAX_SERVICE_HOST",
        "LOG10_SERVER_port",
    ],
)
def test_a_variable_that_only_resembles_a_service_link_is_no_setting(variable: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable} is not a setting"):
        Settings.from_environment({variable: "tcp://10.96.0.12:8000"})


@pytest.mark.parametrize(
    "value", ["http://10.96.0.12:8000", "tcp://10.96.0.12", "tcp://:8000", "tcp://10.96.0.12:port", "10.96.0.12:8000"]
)
def test_a_port_that_is_neither_a_number_nor_a_service_link_is_an_error(value: str) -> None:
    with pytest.raises(SettingsError, match="LOG10_SERVER_PORT must be a whole number"):
        Settings.from_environment({"LOG10_SERVER_PORT": value})


def test_a_misspelt_setting_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(SettingsError, match=r"Did you mean LOG10_SERVER_READERS\?"):
        Settings.from_environment({"LOG10_SERVER_READER": "4"})
