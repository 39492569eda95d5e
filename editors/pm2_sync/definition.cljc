;; Generated from the table in crates/daemon-model/src/attribute.rs: `UPDATE_DOCS=1 cargo test -p pm2-sync-model --test reference`.
(ns pm2-sync.definition
  "A Malli schema of definitions (system/daemons/**/ecosystem.pm2.edn). Unknown keys are errors here; `pm2-sync check` warns of them."
  (:require [clojure.string :as str]
            [malli.core :as m]))

(defn- env-block?
  "Whether a key names one of PM2's blocks of variables, such as :env_production."
  [key]
  (and (keyword? key) (str/starts-with? (name key) "env_")))

(def registry
  {::app
   [:map
    [:script {:optional true} [:ref ::text]]
    [:exec {:optional true} [:or [:ref ::text] [:ref ::nothing]]]
    [:command {:optional true} [:or [:ref ::text] [:ref ::nothing]]]
    [:cmd {:optional true} [:or [:ref ::text] [:ref ::nothing]]]
    [:name {:optional true} [:or [:ref ::text] [:ref ::nothing]]]
    [:name_prefix {:optional true} [:or [:ref ::text] [:ref ::nothing]]]
    [:namePrefix {:optional true} [:ref ::text]]
    [:filter_env {:optional true} [:or [:ref ::switchTextOrList] [:ref ::nothing]]]
    [:filterEnv {:optional true} [:ref ::switchTextOrList]]
    [:namespace {:optional true} [:ref ::text]]
    [:install_url {:optional true} [:or [:ref ::text] [:ref ::nothing]]]
    [:installUrl {:optional true} [:ref ::text]]
    [:cwd {:optional true} [:ref ::text]]
    [:args {:optional true} [:ref ::words]]
    [:exec_interpreter {:optional true} [:or [:ref ::text] [:ref ::nothing]]]
    [:interpreter {:optional true} [:or [:ref ::text] [:ref ::nothing]]]
    [:execInterpreter {:optional true} [:ref ::text]]
    [:node_args {:optional true} [:or [:ref ::words] [:ref ::nothing]]]
    [:interpreterArgs {:optional true} [:or [:ref ::words] [:ref ::nothing]]]
    [:interpreter_args {:optional true} [:or [:ref ::words] [:ref ::nothing]]]
    [:nodeArgs {:optional true} [:ref ::words]]
    [:out_file {:optional true} [:or [:ref ::text] [:ref ::nothing]]]
    [:out {:optional true} [:or [:ref ::text] [:ref ::nothing]]]
    [:output {:optional true} [:or [:ref ::text] [:ref ::nothing]]]
    [:out_log {:optional true} [:or [:ref ::text] [:ref ::nothing]]]
    [:outFile {:optional true} [:ref ::text]]
    [:error_file {:optional true} [:or [:ref ::text] [:ref ::nothing]]]
    [:error {:optional true} [:or [:ref ::text] [:ref ::nothing]]]
    [:err {:optional true} [:or [:ref ::text] [:ref ::nothing]]]
    [:err_file {:optional true} [:or [:ref ::text] [:ref ::nothing]]]
    [:err_log {:optional true} [:or [:ref ::text] [:ref ::nothing]]]
    [:errorFile {:optional true} [:ref ::text]]
    [:log_file {:optional true} [:or [:ref ::switchOrText] [:ref ::nothing]]]
    [:log {:optional true} [:or [:ref ::switchOrText] [:ref ::nothing]]]
    [:logFile {:optional true} [:ref ::switchOrText]]
    [:disable_logs {:optional true} [:or [:ref ::switch] [:ref ::nothing]]]
    [:disableLogs {:optional true} [:ref ::switch]]
    [:log_type {:optional true} [:or [:ref ::text] [:ref ::nothing]]]
    [:logType {:optional true} [:ref ::text]]
    [:log_date_format {:optional true} [:or [:ref ::text] [:ref ::nothing]]]
    [:logDateFormat {:optional true} [:ref ::text]]
    [:time {:optional true} [:ref ::switch]]
    [:env {:optional true} [:or [:ref ::environment] [:ref ::nothing]]]
    [:max_memory_restart {:optional true} [:or [:ref ::memory] [:ref ::nothing]]]
    [:maxMemoryRestart {:optional true} [:ref ::memory]]
    [:pid_file {:optional true} [:or [:ref ::text] [:ref ::nothing]]]
    [:pid {:optional true} [:or [:ref ::text] [:ref ::nothing]]]
    [:pidFile {:optional true} [:ref ::text]]
    [:restart_delay {:optional true} [:or [:ref ::number] [:ref ::nothing]]]
    [:restartDelay {:optional true} [:ref ::number]]
    [:exp_backoff_restart_delay {:optional true} [:or [:ref ::number] [:ref ::nothing]]]
    [:expBackoffRestartDelay {:optional true} [:ref ::number]]
    [:source_map_support {:optional true} [:or [:ref ::switch] [:ref ::nothing]]]
    [:sourceMapSupport {:optional true} [:ref ::switch]]
    [:disable_source_map_support {:optional true} [:or [:ref ::switch] [:ref ::nothing]]]
    [:disableSourceMapSupport {:optional true} [:ref ::switch]]
    [:wait_ready {:optional true} [:or [:ref ::switch] [:ref ::nothing]]]
    [:waitReady {:optional true} [:ref ::switch]]
    [:instances {:optional true} [:ref ::instances]]
    [:kill_timeout {:optional true} [:or [:ref ::number] [:ref ::nothing]]]
    [:killTimeout {:optional true} [:ref ::number]]
    [:shutdown_with_message {:optional true} [:or [:ref ::switch] [:ref ::nothing]]]
    [:shutdownWithMessage {:optional true} [:ref ::switch]]
    [:listen_timeout {:optional true} [:or [:ref ::number] [:ref ::nothing]]]
    [:listenTimeout {:optional true} [:ref ::number]]
    [:cron_restart {:optional true} [:or [:ref ::cron] [:ref ::nothing]]]
    [:cron {:optional true} [:or [:ref ::cron] [:ref ::nothing]]]
    [:cronRestart {:optional true} [:ref ::cron]]
    [:merge_logs {:optional true} [:or [:ref ::switch] [:ref ::nothing]]]
    [:combine_logs {:optional true} [:or [:ref ::switch] [:ref ::nothing]]]
    [:mergeLogs {:optional true} [:ref ::switch]]
    [:vizion {:optional true} [:ref ::switch]]
    [:autostart {:optional true} [:ref ::switch]]
    [:autorestart {:optional true} [:ref ::switch]]
    [:stop_exit_codes {:optional true} [:or [:ref ::exitCodes] [:ref ::nothing]]]
    [:stopExitCodes {:optional true} [:ref ::exitCodes]]
    [:watch_delay {:optional true} [:or [:ref ::number] [:ref ::nothing]]]
    [:watchDelay {:optional true} [:ref ::number]]
    [:watch {:optional true} [:ref ::switchTextOrList]]
    [:ignore_watch {:optional true} [:or [:ref ::list] [:ref ::nothing]]]
    [:ignoreWatch {:optional true} [:ref ::list]]
    [:watch_options {:optional true} [:or [:ref ::map] [:ref ::nothing]]]
    [:watchOptions {:optional true} [:ref ::map]]
    [:min_uptime {:optional true} [:or [:ref ::duration] [:ref ::nothing]]]
    [:minUptime {:optional true} [:ref ::duration]]
    [:max_restarts {:optional true} [:or [:ref ::number] [:ref ::nothing]]]
    [:maxRestarts {:optional true} [:ref ::number]]
    [:execute_command {:optional true} [:or [:ref ::switch] [:ref ::nothing]]]
    [:executeCommand {:optional true} [:ref ::switch]]
    [:exec_mode {:optional true} [:or [:ref ::execMode] [:ref ::nothing]]]
    [:execMode {:optional true} [:ref ::execMode]]
    [:force {:optional true} [:ref ::switch]]
    [:append_env_to_name {:optional true} [:or [:ref ::switch] [:ref ::nothing]]]
    [:appendEnvToName {:optional true} [:ref ::switch]]
    [:post_update {:optional true} [:or [:ref ::list] [:ref ::nothing]]]
    [:postUpdate {:optional true} [:ref ::list]]
    [:trace {:optional true} [:ref ::switch]]
    [:disable_trace {:optional true} [:or [:ref ::switch] [:ref ::nothing]]]
    [:disableTrace {:optional true} [:ref ::switch]]
    [:v8 {:optional true} [:ref ::switch]]
    [:event_loop_inspector {:optional true} [:or [:ref ::switch] [:ref ::nothing]]]
    [:eventLoopInspector {:optional true} [:ref ::switch]]
    [:deep_monitoring {:optional true} [:or [:ref ::switch] [:ref ::nothing]]]
    [:deepMonitoring {:optional true} [:ref ::switch]]
    [:increment_var {:optional true} [:or [:ref ::text] [:ref ::nothing]]]
    [:incrementVar {:optional true} [:ref ::text]]
    [:instance_var {:optional true} [:or [:ref ::text] [:ref ::nothing]]]
    [:instanceVar {:optional true} [:ref ::text]]
    [:pmx {:optional true} [:ref ::switchOrText]]
    [:automation {:optional true} [:ref ::switch]]
    [:treekill {:optional true} [:ref ::switch]]
    [:port {:optional true} [:ref ::number]]
    [:username {:optional true} :any]
    [:uid {:optional true} [:ref ::account]]
    [:user {:optional true} [:or [:ref ::account] [:ref ::nothing]]]
    [:gid {:optional true} [:ref ::account]]
    [:windowsHide {:optional true} [:ref ::switch]]
    [:kill_retry_time {:optional true} [:or [:ref ::number] [:ref ::nothing]]]
    [:killRetryTime {:optional true} [:ref ::number]]
    [:write {:optional true} [:ref ::switch]]
    [:io {:optional true} [:ref ::map]]
    [:pm2-sync {:optional true} [:or [:map {:closed true} [:on-change {:optional true} [:enum "reload" :reload "restart" :restart "replace" :replace "hold" :hold nil]] [:on-remove {:optional true} [:enum "delete" :delete "stop" :stop "keep" :keep nil]] [:protect {:optional true} [:or :boolean :nil]] [:interpolate {:optional true} [:or :boolean :nil]] [:on-failure {:optional true} [:enum "rollback" :rollback "keep" :keep "stop" :stop nil]] [:within {:optional true} [:ref ::wait]] [:canary {:optional true} [:or :boolean :nil]] [:together {:optional true} [:or :boolean :nil]]] :nil]]
    [:env_file {:optional true} [:or [:or [:string {:min 1}] [:map {:closed true} [:path {:optional true} [:string {:min 1}]] [:required {:optional true} [:or :boolean :nil]]]] [:or [:sequential [:or [:string {:min 1}] [:map {:closed true} [:path {:optional true} [:string {:min 1}]] [:required {:optional true} [:or :boolean :nil]]]]] [:set [:or [:string {:min 1}] [:map {:closed true} [:path {:optional true} [:string {:min 1}]] [:required {:optional true} [:or :boolean :nil]]]]]] :nil]]
    [:startup_probe {:optional true} [:ref ::probe]]
    [:startupProbe {:optional true} [:ref ::probe]]
    [:readiness_probe {:optional true} [:ref ::probe]]
    [:readinessProbe {:optional true} [:ref ::probe]]
    [:liveness_probe {:optional true} [:ref ::probe]]
    [:livenessProbe {:optional true} [:ref ::probe]]
    [:depends_on {:optional true} [:or [:or [:sequential [:string {:min 1}]] [:set [:string {:min 1}]]] [:string {:min 1}] :nil]]
    [:dependsOn {:optional true} [:or [:or [:sequential [:string {:min 1}]] [:set [:string {:min 1}]]] [:string {:min 1}] :nil]]
    [::m/default [:map-of [:fn {:error/message "unknown key"} env-block?] :any]]]
   ::switch
   [:or :boolean :nil]
   ::switchOrText
   [:or [:or :boolean [:or :string :keyword :symbol]] :nil]
   ::number
   [:or [:or [:int {:min 0}] [:double {:min 0.0}]] [:re "^\\s*\\+?([0-9]+\\.?[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?\\s*$"] :nil]
   ::text
   [:or [:or :string :keyword :symbol] :nil]
   ::words
   [:or [:or :string :keyword :symbol] [:or [:sequential [:or [:or :string :keyword :symbol] [:or :int :double] :boolean]] [:set [:or [:or :string :keyword :symbol] [:or :int :double] :boolean]]] :nil]
   ::switchTextOrList
   [:or [:or :boolean [:or :string :keyword :symbol]] [:or [:sequential [:or :string :keyword :symbol]] [:set [:or :string :keyword :symbol]]] :nil]
   ::list
   [:or [:or :string :keyword :symbol] [:or [:sequential [:or [:or :string :keyword :symbol] [:or :int :double] :boolean]] [:set [:or [:or :string :keyword :symbol] [:or :int :double] :boolean]]] :nil]
   ::memory
   [:or [:or [:int {:min 0}] [:double {:min 0.0}]] [:re "^[0-9]+[KMG]?$"] :nil]
   ::duration
   [:or [:or [:int {:min 100}] [:double {:min 100.0}]] [:re "^([0-9]+[smh]|0*[1-9][0-9]{2,})$"] :nil]
   ::instances
   [:or [:int {:min -4096 :max 4096}] [:enum "max" :max] [:re "^\\s*[+-]?[0-9]+\\s*$"] :nil]
   ::execMode
   [:or [:enum "fork" :fork "cluster" :cluster "fork_mode" :fork_mode "cluster_mode" :cluster_mode] :nil]
   ::cron
   [:or [:enum 0] [:re "^\\s*(0|\\S+(\\s+\\S+){4,5})\\s*$"] :nil]
   ::exitCodes
   [:or [:or [:int {:min 0}] [:re "^\\s*\\+?[0-9]+\\s*$"]] [:or [:sequential [:or [:int {:min 0}] [:re "^\\s*\\+?[0-9]+\\s*$"]]] [:set [:or [:int {:min 0}] [:re "^\\s*\\+?[0-9]+\\s*$"]]]] :nil]
   ::account
   [:or [:int {:min 0 :max 4294967295}] [:string {:min 1}] :nil]
   ::environment
   [:or :map :nil]
   ::map
   [:or :map :nil]
   ::nothing
   [:enum false "" 0]
   ::probe
   [:or [:map {:closed true} [:http_get {:optional true} [:or [:map {:closed true} [:url {:optional true} [:or [:string {:min 1}] :nil]] [:scheme {:optional true} [:or [:string {:min 1}] :nil]] [:host {:optional true} [:or [:string {:min 1}] :nil]] [:port {:optional true} [:or [:int {:min 1 :max 65535}] [:re "^[0-9]+$|\\$\\{"] :nil]] [:path {:optional true} [:or [:string {:min 1}] :nil]] [:headers {:optional true} [:or :map [:or [:sequential :any] [:set :any]] :nil]] [:http_headers {:optional true} [:or :map [:or [:sequential :any] [:set :any]] :nil]] [:httpHeaders {:optional true} [:or :map [:or [:sequential :any] [:set :any]] :nil]] [:timeout {:optional true} [:ref ::wait]] [:timeout_seconds {:optional true} [:or [:or [:int {:min 1 :max 86400}] [:double {:min 0.0 :max 86400.0}]] [:re "^[0-9]+$"] :nil]] [:timeoutSeconds {:optional true} [:or [:or [:int {:min 1 :max 86400}] [:double {:min 0.0 :max 86400.0}]] [:re "^[0-9]+$"] :nil]] [:failure_threshold {:optional true} [:or [:int {:min 1 :max 4294967295}] :nil]] [:failureThreshold {:optional true} [:or [:int {:min 1 :max 4294967295}] :nil]] [:retries {:optional true} [:or [:int {:min 1 :max 4294967295}] :nil]]] :nil]] [:httpGet {:optional true} [:or [:map {:closed true} [:url {:optional true} [:or [:string {:min 1}] :nil]] [:scheme {:optional true} [:or [:string {:min 1}] :nil]] [:host {:optional true} [:or [:string {:min 1}] :nil]] [:port {:optional true} [:or [:int {:min 1 :max 65535}] [:re "^[0-9]+$|\\$\\{"] :nil]] [:path {:optional true} [:or [:string {:min 1}] :nil]] [:headers {:optional true} [:or :map [:or [:sequential :any] [:set :any]] :nil]] [:http_headers {:optional true} [:or :map [:or [:sequential :any] [:set :any]] :nil]] [:httpHeaders {:optional true} [:or :map [:or [:sequential :any] [:set :any]] :nil]] [:timeout {:optional true} [:ref ::wait]] [:timeout_seconds {:optional true} [:or [:or [:int {:min 1 :max 86400}] [:double {:min 0.0 :max 86400.0}]] [:re "^[0-9]+$"] :nil]] [:timeoutSeconds {:optional true} [:or [:or [:int {:min 1 :max 86400}] [:double {:min 0.0 :max 86400.0}]] [:re "^[0-9]+$"] :nil]] [:failure_threshold {:optional true} [:or [:int {:min 1 :max 4294967295}] :nil]] [:failureThreshold {:optional true} [:or [:int {:min 1 :max 4294967295}] :nil]] [:retries {:optional true} [:or [:int {:min 1 :max 4294967295}] :nil]]] :nil]] [:tcp_socket {:optional true} [:or [:map {:closed true} [:host {:optional true} [:or [:string {:min 1}] :nil]] [:port {:optional true} [:or [:int {:min 1 :max 65535}] [:re "^[0-9]+$|\\$\\{"] :nil]] [:timeout {:optional true} [:ref ::wait]] [:timeout_seconds {:optional true} [:or [:or [:int {:min 1 :max 86400}] [:double {:min 0.0 :max 86400.0}]] [:re "^[0-9]+$"] :nil]] [:timeoutSeconds {:optional true} [:or [:or [:int {:min 1 :max 86400}] [:double {:min 0.0 :max 86400.0}]] [:re "^[0-9]+$"] :nil]] [:failure_threshold {:optional true} [:or [:int {:min 1 :max 4294967295}] :nil]] [:failureThreshold {:optional true} [:or [:int {:min 1 :max 4294967295}] :nil]] [:retries {:optional true} [:or [:int {:min 1 :max 4294967295}] :nil]]] :nil]] [:tcpSocket {:optional true} [:or [:map {:closed true} [:host {:optional true} [:or [:string {:min 1}] :nil]] [:port {:optional true} [:or [:int {:min 1 :max 65535}] [:re "^[0-9]+$|\\$\\{"] :nil]] [:timeout {:optional true} [:ref ::wait]] [:timeout_seconds {:optional true} [:or [:or [:int {:min 1 :max 86400}] [:double {:min 0.0 :max 86400.0}]] [:re "^[0-9]+$"] :nil]] [:timeoutSeconds {:optional true} [:or [:or [:int {:min 1 :max 86400}] [:double {:min 0.0 :max 86400.0}]] [:re "^[0-9]+$"] :nil]] [:failure_threshold {:optional true} [:or [:int {:min 1 :max 4294967295}] :nil]] [:failureThreshold {:optional true} [:or [:int {:min 1 :max 4294967295}] :nil]] [:retries {:optional true} [:or [:int {:min 1 :max 4294967295}] :nil]]] :nil]] [:exec {:optional true} [:or [:map {:closed true} [:command {:optional true} [:or [:string {:min 1}] [:or [:sequential {:min 1} :any] [:set {:min 1} :any]] :nil]] [:timeout {:optional true} [:ref ::wait]] [:timeout_seconds {:optional true} [:or [:or [:int {:min 1 :max 86400}] [:double {:min 0.0 :max 86400.0}]] [:re "^[0-9]+$"] :nil]] [:timeoutSeconds {:optional true} [:or [:or [:int {:min 1 :max 86400}] [:double {:min 0.0 :max 86400.0}]] [:re "^[0-9]+$"] :nil]] [:failure_threshold {:optional true} [:or [:int {:min 1 :max 4294967295}] :nil]] [:failureThreshold {:optional true} [:or [:int {:min 1 :max 4294967295}] :nil]] [:retries {:optional true} [:or [:int {:min 1 :max 4294967295}] :nil]]] :nil]] [:initial_delay {:optional true} [:or [:int {:min 0 :max 86400000}] [:re "^[0-9]+(ms|s|m|h)?$"] :nil]] [:initialDelay {:optional true} [:or [:int {:min 0 :max 86400000}] [:re "^[0-9]+(ms|s|m|h)?$"] :nil]] [:initial_delay_seconds {:optional true} [:or [:or [:int {:min 0 :max 86400}] [:double {:min 0.0 :max 86400.0}]] [:re "^[0-9]+$"] :nil]] [:initialDelaySeconds {:optional true} [:or [:or [:int {:min 0 :max 86400}] [:double {:min 0.0 :max 86400.0}]] [:re "^[0-9]+$"] :nil]] [:period {:optional true} [:ref ::wait]] [:period_seconds {:optional true} [:or [:or [:int {:min 1 :max 86400}] [:double {:min 0.0 :max 86400.0}]] [:re "^[0-9]+$"] :nil]] [:periodSeconds {:optional true} [:or [:or [:int {:min 1 :max 86400}] [:double {:min 0.0 :max 86400.0}]] [:re "^[0-9]+$"] :nil]] [:success_threshold {:optional true} [:or [:int {:min 1 :max 4294967295}] :nil]] [:successThreshold {:optional true} [:or [:int {:min 1 :max 4294967295}] :nil]] [:timeout {:optional true} [:ref ::wait]] [:timeout_seconds {:optional true} [:or [:or [:int {:min 1 :max 86400}] [:double {:min 0.0 :max 86400.0}]] [:re "^[0-9]+$"] :nil]] [:timeoutSeconds {:optional true} [:or [:or [:int {:min 1 :max 86400}] [:double {:min 0.0 :max 86400.0}]] [:re "^[0-9]+$"] :nil]] [:failure_threshold {:optional true} [:or [:int {:min 1 :max 4294967295}] :nil]] [:failureThreshold {:optional true} [:or [:int {:min 1 :max 4294967295}] :nil]] [:retries {:optional true} [:or [:int {:min 1 :max 4294967295}] :nil]]] :nil]
   ::wait
   [:or [:int {:min 1 :max 86400000}] [:re "^[0-9]+(ms|s|m|h)?$"] :nil]})

(def definition
  "A whole definition."
  [:schema {:registry registry}
   [:map {:closed true}
    [:apps [:or [:sequential ::app] [:set ::app]]]
    [:profiles {:optional true} [:map-of :any :map]]
    [:deploy {:optional true} [:maybe :map]]]])

(defn explain
  "What is wrong with a definition; nil when nothing is. `malli.error/humanize` makes it readable."
  [value]
  (m/explain definition value))
