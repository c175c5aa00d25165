"""Where the simulated users live: countries, cities, languages and clocks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A city, with the share of users who live there and the UTC offset of its standard time."""

    city: str
    country: str
    language: str
    time_zone: str
    utc_offset_hours: float
    latitude: float
    longitude: float
    weight: float


PLACES = (
    Place("New York", "US", "en", "America/New_York", -5, 40.71, -74.01, 10),
    Place("Chicago", "US", "en", "America/Chicago", -6, 41.88, -87.63, 6),
    Place("Los Angeles", "US", "en", "America/Los_Angeles", -8, 34.05, -118.24, 8),
    Place("London", "GB", "en", "Europe/London", 0, 51.51, -0.13, 7),
    Place("Manchester", "GB", "en", "Europe/London", 0, 53.48, -2.24, 2),
    Place("Mumbai", "IN", "en", "Asia/Kolkata", 5.5, 19.08, 72.88, 9),
    Place("Toronto", "CA", "en", "America/Toronto", -5, 43.65, -79.38, 3),
    Place("Montréal", "CA", "fr", "America/Toronto", -5, 45.50, -73.57, 2),
    Place("Mexico City", "MX", "es", "America/Mexico_City", -6, 19.43, -99.13, 8),
    Place("Madrid", "ES", "es", "Europe/Madrid", 1, 40.42, -3.70, 5),
    Place("Buenos Aires", "AR", "es", "America/Argentina/Buenos_Aires", -3, -34.60, -58.38, 5),
    Place("São Paulo", "BR", "pt", "America/Sao_Paulo", -3, -23.55, -46.63, 9),
    Place("Recife", "BR", "pt", "America/Recife", -3, -8.05, -34.88, 3),
    Place("Berlin", "DE", "de", "Europe/Berlin", 1, 52.52, 13.40, 5),
    Place("Hamburg", "DE", "de", "Europe/Berlin", 1, 53.55, 9.99, 2),
    Place("Wien", "AT", "de", "Europe/Vienna", 1, 48.21, 16.37, 1),
    Place("Paris", "FR", "fr", "Europe/Paris", 1, 48.86, 2.35, 5),
    Place("Lyon", "FR", "fr", "Europe/Paris", 1, 45.76, 4.84, 1),
    Place("Tokyo", "JP", "ja", "Asia/Tokyo", 9, 35.68, 139.69, 7),
    Place("Osaka", "JP", "ja", "Asia/Tokyo", 9, 34.69, 135.50, 2),
)

COUNTRIES = tuple(sorted({place.country for place in PLACES}))

DEVICES = ("phone", "desktop", "tv", "tablet")
