"""Django settings; whatever an installation may change comes from the environment.

``docs/configuration.md`` describes each variable; a test keeps that page complete.
"""

from __future__ import annotations

import dj_database_url
import dj_email_url

from cortex_site import env, logs
from routing import vendor_urls

BASE_DIR = env.BASE_DIR
ADDRESS = env.address()
DATA_DIR = env.prepare_data_dir()
SECRET_KEY, *SECRET_KEY_FALLBACKS = env.secret_keys()
DEBUG = env.flag("CORTEX_DEBUG")

# --- Cortex's own ---------------------------------------------------------------
CORTEX_PUBLIC_URL = ADDRESS.public_url
CORTEX_ORIGINS = ADDRESS.origins
CORTEX_CONTROL_SOCKET = env.control_socket()
CORTEX_BUILTIN_URL = env.text("CORTEX_BUILTIN_URL")
CORTEX_RECALL_SOCKET = env.recall_socket()
CORTEX_RECALL_THREADS = env.integer("CORTEX_RECALL_THREADS", 1, high=64)
# With https there is a proxy, and it most often runs on the same computer.
CORTEX_TRUSTED_PROXIES = env.words(
    "CORTEX_TRUSTED_PROXIES", "127.0.0.1,::1" if ADDRESS.https else ""
)
CORTEX_DEFAULT_TIER = env.integer("CORTEX_DEFAULT_TIER", 1, low=1, high=3)
CORTEX_CLAUDE_CLI = env.text("CORTEX_CLAUDE_CLI", "claude")
CORTEX_GEMINI_CLI = env.text("CORTEX_GEMINI_CLI", "gemini")
CORTEX_CLAUDE_WARM = env.flag("CORTEX_CLAUDE_WARM", default=True)
CORTEX_ANTHROPIC_URL = env.text("CORTEX_ANTHROPIC_URL", vendor_urls.ANTHROPIC_URL)
CORTEX_GEMINI_URL = env.text("CORTEX_GEMINI_URL", vendor_urls.GEMINI_URL)
CORTEX_UNKNOWN_PRICE = env.choice(
    "CORTEX_UNKNOWN_PRICE", "dearest", ("dearest", "refuse")
)
CORTEX_ROUTE_RULES = env.flag("CORTEX_ROUTE_RULES", True)
CORTEX_ROUTE_CLASSIFIER = env.flag("CORTEX_ROUTE_CLASSIFIER", True)
CORTEX_MEMORY_BUILTIN = env.flag("CORTEX_MEMORY_BUILTIN")
CORTEX_BACKGROUND_DAILY_USD = env.dollars("CORTEX_BACKGROUND_DAILY_USD")
CORTEX_ALLOWED_ORIGINS = env.words("CORTEX_ALLOWED_ORIGINS")
CORTEX_GOOGLE_CHAT_URL = env.text(
    "CORTEX_GOOGLE_CHAT_URL", "https://chat.googleapis.com"
)
CORTEX_GOOGLE_TOKEN_URL = env.text(
    "CORTEX_GOOGLE_TOKEN_URL", "https://oauth2.googleapis.com/token"
)
CORTEX_GOOGLE_CERTS_URL = env.text(
    "CORTEX_GOOGLE_CERTS_URL", "https://www.googleapis.com"
)
CORTEX_API_PER_MINUTE = env.integer("CORTEX_API_PER_MINUTE", 120, low=1)
CORTEX_HEARTBEAT_S = env.integer("CORTEX_HEARTBEAT_S", 300, low=10)
CORTEX_QUEUE_BATCH = env.integer("CORTEX_QUEUE_BATCH", 5, low=1, high=100)
CORTEX_WORKER_CONCURRENCY = env.integer("CORTEX_WORKER_CONCURRENCY", 4, low=1, high=200)
CORTEX_BACKUP_AT = env.time_of_day("CORTEX_BACKUP_AT", "03:30")
CORTEX_BACKUP_KEEP = env.integer("CORTEX_BACKUP_KEEP", 7, low=1, high=10_000)
CORTEX_ROLES = env.words("CORTEX_ROLES")
MODEL_ROLES = ["chat", "orchestrator", "distill", "coder", "research", "classify"]
MODEL_ROLES += [role for role in CORTEX_ROLES if role not in MODEL_ROLES]
# CORTEX_ROLE_CHAT=<label of a model> and so on, for roles without a chain.
CORTEX_ROLE_MODELS = {
    role: env.text(f"CORTEX_ROLE_{role.upper().replace('-', '_')}")
    for role in MODEL_ROLES
}
MODEL_BACKENDS = {
    "builtin": "routing.backends.builtin.Builtin",
    "local_openai": "routing.backends.local_openai.LocalOpenAI",
    "claude_cli": "routing.backends.claude_cli.ClaudeCLI",
    "gemini_cli": "routing.backends.gemini_cli.GeminiCLI",
    "anthropic_api": "routing.backends.anthropic_api.AnthropicAPI",
    "gemini_api": "routing.backends.gemini_api.GeminiAPI",
}
if DEBUG:
    MODEL_BACKENDS["scripted"] = "routing.backends.scripted.Scripted"
REDIS_URL = env.text("REDIS_URL")

# --- Applications ---------------------------------------------------------------
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.google",
    "allauth.mfa",
    "allauth.usersessions",
    "channels",
    "django_htmx",
    "accounts",
    "ledger",
    "routing",
    "personas",
    "channels_app",
]
MIDDLEWARE = [
    "channels_app.web.request_id.request_id_middleware",
    "accounts.proxies.trusted_proxy_middleware",
    "channels_app.web.csp.content_security_policy",
    "channels_app.web.health.health_middleware",
    "channels_app.web.paths.refuse_null_characters",
    "channels_app.web.programs.programs_middleware",
    "django.middleware.security.SecurityMiddleware",
    "channels_app.web.static_versions.VersionedStaticMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "accounts.preferences.preferences_middleware",
    "django_htmx.middleware.HtmxMiddleware",
    "channels_app.web.refusals.refusals_middleware",
]
ROOT_URLCONF = "cortex_site.urls"
ASGI_APPLICATION = "cortex_site.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "channels_app.web.page.page",
            ],
        },
    }
]

# --- Database, cache, channel layer ------------------------------------------------
SQLITE_OPTIONS = {
    # Whoever queues for a thread behind others that wait for a lock waits twice as
    # long, and shall still be told within five seconds.
    "timeout": 2.2,
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
}
POSTGRES_OPTIONS = {
    # A host that is cut off learns it within ten seconds instead of a quarter of an
    # hour, and the server lets go of what such a host held (locks, open transactions).
    # Source: https://www.postgresql.org/docs/current/libpq-connect.html
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "options": "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 "
    "-c tcp_keepalives_count=3 -c tcp_user_timeout=10000",
}
DATABASES = {
    "default": dj_database_url.parse(
        env.database_url() or f"sqlite:///{DATA_DIR / 'cortex.sqlite3'}",
        conn_max_age=None,
        conn_health_checks=True,
    )
}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["ENGINE"] = "accounts.sqlite"
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = False
    DATABASES["default"]["OPTIONS"] = SQLITE_OPTIONS
    # A file, because turns use several threads and processes, in tests too.
    DATABASES["default"]["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}
if DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    # Procrastinate brings tasks to workers there; its admin pages are left out in
    # channels_app/admin.py, and our modules called "tasks" are none of its own.
    INSTALLED_APPS.insert(
        INSTALLED_APPS.index("accounts"), "procrastinate.contrib.django"
    )
    PROCRASTINATE_AUTODISCOVER_MODULE_NAME = ""
    DATABASES["default"]["OPTIONS"] = {
        **POSTGRES_OPTIONS,
        **DATABASES["default"].get("OPTIONS", {}),
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
if REDIS_URL:
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": REDIS_URL,
        }
    }
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": [REDIS_URL]},
        }
    }
else:
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    CHANNEL_LAYERS = {
        "default": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
    }

# --- Sign-in -----------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["accounts.backends.PasswordBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.ScryptPasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email", "password1*", "password2*"]
ACCOUNT_CHANGE_EMAIL = True
ACCOUNT_EMAIL_VERIFICATION = "optional"
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if ADDRESS.https else "http"
ACCOUNT_FORMS = {"reset_password": "accounts.forms.ResetPasswordForm"}
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_SALT = "cortex.confirm-email"
PASSWORD_RESET_TIMEOUT = 3600
SOCIALACCOUNT_ADAPTER = "accounts.google.adapter.SocialAdapter"
SOCIALACCOUNT_PROVIDERS = {
    "google": {"provider_class": "accounts.google.provider.CortexGoogleProvider"}
}
GOOGLE_CLIENT_ID = env.text("GOOGLE_CLIENT_ID")
GOOGLE_CLIENT_SECRET = env.text("GOOGLE_CLIENT_SECRET")
MFA_ADAPTER = "accounts.adapter.SecondFactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
# A box at home may have no mail server to confirm addresses with.
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_TOTP_TOLERANCE = 1

# --- Pages, language, time ---------------------------------------------------------
LANGUAGE_CODE = "en"
# Only what all pages are written in: others would be half translated by packages.
LANGUAGES = [("en", "English")]
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "channels_app.web.static_versions.VersionedStorage"},
}
WHITENOISE_ALLOW_ALL_ORIGINS = False
MEDIA_ROOT = DATA_DIR / "media"

# --- Addresses and cookies -----------------------------------------------------------
ALLOWED_HOSTS = ADDRESS.allowed_hosts
CSRF_TRUSTED_ORIGINS = ADDRESS.origins
CSRF_FAILURE_VIEW = "channels_app.web.error_pages.csrf_failure"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if ADDRESS.https:
    # Believed only from a proxy in CORTEX_TRUSTED_PROXIES; see accounts/proxies.py.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SESSION_COOKIE_NAME = "__Host-sessionid"
    CSRF_COOKIE_NAME = "__Host-csrftoken"
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = env.flag("CORTEX_HSTS_SUBDOMAINS")
# Hosts below this one may belong to somebody else and know no https, so whoever
# runs Cortex decides about them; a place in browsers' preload lists is for the
# owner of the whole domain to apply for.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
DATA_UPLOAD_MAX_MEMORY_SIZE = 25 * 1024 * 1024

# --- Mail ---------------------------------------------------------------------------
vars().update(dj_email_url.parse(env.email_url()))
EMAIL_TIMEOUT = vars().get("EMAIL_TIMEOUT") or 10
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.text(
    "CORTEX_MAIL_FROM", f"Cortex <cortex@{ADDRESS.hostname}>"
)

# --- Log ----------------------------------------------------------------------------
LOGGING = logs.configuration(env.choice("CORTEX_LOG", "text", ("text", "json")))
