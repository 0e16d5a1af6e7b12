#!/bin/bash
# MLflow's server for many people: runs and users in PostgreSQL, artifacts in S3. Who comes with which key is said by the
# environment and by files alone: libpq's PGHOST, PGUSER, PGPASSFILE, boto3's AWS_*, and the three below. See README.md.
set -eu
: "${ARTIFACTS:?s3://BUCKET/PREFIX}" "${HOSTS:?the names it is asked by, as mlflow.lab:5000,127.0.0.1:5000}"
: "${SECRETS:?a folder with admin_password and session_key, 12 characters and more, for nobody else to read}"
umask 077
config=$(mktemp)
trap 'rm -f "$config"' EXIT
printf '[mlflow]\ndefault_permission = READ\ndatabase_uri = postgresql+psycopg:///%s\nadmin_username = admin\n' \
	"${USERS_DATABASE:-mlflow_users}" >"$config"
printf 'authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n' >>"$config"
MLFLOW_AUTH_ADMIN_PASSWORD=$(cat "$SECRETS/admin_password")
MLFLOW_FLASK_SERVER_SECRET_KEY=$(cat "$SECRETS/session_key")
export MLFLOW_AUTH_ADMIN_PASSWORD MLFLOW_FLASK_SERVER_SECRET_KEY MLFLOW_AUTH_CONFIG_PATH=$config
export MLFLOW_BACKEND_STORE_URI=postgresql+psycopg:///"${DATABASE:-mlflow}"
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true
mlflow server --host "${LISTEN:-127.0.0.1}" --port "${PORT:-5000}" --workers "${WORKERS:-2}" --app-name basic-auth \
	--allowed-hosts "$HOSTS" --artifacts-destination "$ARTIFACTS" &
trap 'kill $!' TERM INT
wait $!
